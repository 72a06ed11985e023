// A capture of any length is replayed in constant memory. `npm run test:gigabyte` takes one of a gigabyte.
import { execFile } from 'node:child_process';
import { statSync, truncateSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { writeTraffic } from '../../bench/micro/replay-traffic.ts';

const MEGABYTES = Number(process.env['TAPDECK_CAPTURE_MB'] ?? 64);
const MOST_KILOBYTES = 200 * 1024;
const FRAME = 600;
/** Says at the end how much memory the process had at most, in KiB. */
const TELL =
  'data:text/javascript,process.on("exit",()=>console.error("maxrss",process.resourceUsage().maxRSS))';

interface Replayed {
  code: number;
  out: { frames: number; tables: { ledger: { sent: number } } }[];
  err: string;
  kilobytes: number;
}

async function replay(...args: string[]): Promise<Replayed> {
  const run = promisify(execFile)(
    process.execPath,
    ['--import', TELL, 'dist/src/main.js', 'replay', '--format', 'json', ...args],
    { maxBuffer: 1 << 26 },
  );
  const { stdout, stderr, code } = await run.then(
    (done) => ({ ...done, code: 0 }),
    (failed: { code: number; stdout: string; stderr: string }) => failed,
  );
  const kilobytes = Number(/maxrss (\d+)/.exec(stderr)![1]);
  return { code, out: JSON.parse(stdout), err: stderr.replace(/maxrss \d+\n/, ''), kilobytes };
}

test('a capture of any length takes at most 200 MB, also when it is cut in the middle of a record', async () => {
  const frames = Math.floor((MEGABYTES * 1e6) / FRAME);
  const traffic = writeTraffic('pcapng', frames, FRAME);
  try {
    const whole = await replay(traffic.capture, '--with-policy', traffic.policy);
    expect(whole).toMatchObject({
      code: 0,
      err: '',
      out: [{ frames, tables: { ledger: { sent: frames } } }],
    });
    expect(whole.kilobytes).toBeLessThan(MOST_KILOBYTES);

    // Everything before the cut is used, and the place is said.
    const size = statSync(traffic.capture).size;
    truncateSync(traffic.capture, size - 100);
    const cut = await replay(traffic.capture, '--with-policy', traffic.policy);
    expect(cut.out).toMatchObject([{ frames: frames - 1 }]);
    expect(cut.err).toMatch(
      /^tapdeck: warning: .*: byte \d+: cut off: the file ends \d+ bytes into what begins here; use what is before it/,
    );
    const offset = Number(/byte (\d+)/.exec(cut.err)![1]);
    expect(size - offset).toBeLessThan(FRAME + 100);
    expect(cut.kilobytes).toBeLessThan(MOST_KILOBYTES);
  } finally {
    traffic.remove();
  }
}, 600_000);
