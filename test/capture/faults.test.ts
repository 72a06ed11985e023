import { describe, expect, it } from 'vitest';
import { FaultsError, NO_FAULTS, parseFaults } from '../../src/device/faults.ts';

describe('parseFaults', () => {
  it('reads every key for both directions', () => {
    const text =
      'loss=5%,duplicate=12.5%, reorder = 25% ,corrupt=100%,distance=4,hold=1s,delay=10ms,jitter=250us,limit=7,per-segment=yes,seed=9';
    const faults = {
      loss: 0.05,
      duplicate: 0.125,
      reorder: 0.25,
      corrupt: 1,
      distance: 4,
      hold: 1000,
      delay: 10,
      jitter: 0.25,
      limit: 7,
      perSegment: true,
    };
    expect(parseFaults(text)).toEqual({ receive: faults, transmit: faults, seed: 9 });
  });

  it('leaves what is not said faultless, with seed 0', () => {
    expect(parseFaults('loss=0%')).toEqual({ receive: NO_FAULTS, transmit: NO_FAULTS, seed: 0 });
  });

  it('lets one direction win over both, in any order', () => {
    for (const text of [
      'transmit.loss=2%,loss=1%,receive.delay=3ms',
      'loss=1%,receive.delay=3ms,transmit.loss=2%',
    ]) {
      expect(parseFaults(text)).toEqual({
        receive: { ...NO_FAULTS, loss: 0.01, delay: 3 },
        transmit: { ...NO_FAULTS, loss: 0.02 },
        seed: 0,
      });
    }
  });

  it.each([
    ['', 'faults: "": no fault is named; use one of loss, corrupt, '],
    ['loss=5%,', 'faults: "loss=5%,": no fault is named'],
    ['los=5%', 'faults: los: there is no such fault; use one of loss, corrupt, duplicate, reorder, '],
    ['toString=1', 'toString: there is no such fault'],
    ['sideways.loss=5%', 'sideways.loss: there is no such fault'],
    ['receive.seed=1', 'receive.seed: there is no such fault'],
    ['loss', 'faults: loss: it has no value; write for example loss=5%'],
    ['loss=5%,loss=5%', 'faults: loss: it is said twice; say it once'],
    ['loss=5', 'faults: loss=5: not a share from 0% to 100%; write for example loss=5%'],
    ['loss=0.05', 'loss=0.05: not a share'],
    ['loss=101%', 'loss=101%: not a share'],
    ['loss=-1%', 'loss=-1%: not a share'],
    ['loss=%', 'loss=%: not a share'],
    [
      'delay=10',
      'faults: delay=10: not a time in us, ms or s of at most an hour; write for example delay=10ms',
    ],
    ['delay=2h', 'delay=2h: not a time'],
    ['delay=3601s', 'delay=3601s: not a time'],
    ['distance=0', 'distance=0: not a whole number from 1 to 65535'],
    ['distance=1.5', 'distance=1.5: not a whole number'],
    ['limit=65536', 'limit=65536: not a whole number'],
    ['seed=4294967296', 'seed=4294967296: not a whole number from 0 to 4294967295'],
    ['seed=x', 'seed=x: not a whole number'],
    ['per-segment=1', 'per-segment=1: neither yes nor no; write per-segment=yes'],
  ])('refuses "%s" in one line that says what to do', (text, message) => {
    let error: unknown;
    try {
      parseFaults(text);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(FaultsError);
    expect((error as FaultsError).message).toContain(message);
    expect((error as FaultsError).message).not.toContain('\n');
  });
});
