import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { setRoutes } from '../../src/device/default-route.ts';
import { hostRoutes } from '../../src/device/host-routes.ts';
import { inNamespace, openNamespace } from '../../src/device/netns.ts';
import { ip, netnsPath, Sandboxes } from './sandbox.ts';

const sandboxes = new Sandboxes();
let name: string;

function run(...args: string[]): void {
  execFileSync('ip', ['-n', name, ...args]);
}

/** The default routes as `ip` lists them. */
function defaults(family: '-4' | '-6'): [string, string][] {
  return ip(name, family, 'route', 'show', 'default').map((route: { gateway: string; dev: string }) => [
    route.gateway,
    route.dev,
  ]);
}

const one = { ifname: 'one', gateway: '10.1.0.1' };
const two = { ifname: 'two', gateway: '10.2.0.1' };
const one6 = { ifname: 'one', gateway: 'fd01::1' };
const two6 = { ifname: 'two', gateway: 'fd02::1' };
const ifnames = ['one', 'two'];

beforeEach(() => {
  name = sandboxes.add('dr');
  for (const [ifname, number] of [
    ['one', 1],
    ['two', 2],
    ['alien', 3],
  ] as const) {
    sandboxes.addLink(name, ifname);
    run('addr', 'add', `10.${number}.0.2/24`, 'dev', ifname);
    run('addr', 'add', `fd0${number}::2/64`, 'dev', ifname, 'nodad');
    for (const end of [ifname, `${ifname}p`]) run('link', 'set', end, 'up');
  }
});
afterEach(() => sandboxes.removeAll());

describe('default routes', () => {
  it('are made, exchanged and taken away, of both families', () => {
    const set = (routes: Partial<Parameters<typeof setRoutes>[0]>) =>
      setRoutes({ netns: netnsPath(name), ifnames, gateway4: null, gateway6: null, ...routes });
    set({ gateway4: one, gateway6: one6 });
    expect([defaults('-4'), defaults('-6')]).toEqual([[['10.1.0.1', 'one']], [['fd01::1', 'one']]]);
    set({ gateway4: two, gateway6: two6 });
    expect([defaults('-4'), defaults('-6')]).toEqual([[['10.2.0.1', 'two']], [['fd02::1', 'two']]]);
    // Once more is no error.
    set({ gateway4: two, gateway6: one6 });
    expect([defaults('-4'), defaults('-6')]).toEqual([[['10.2.0.1', 'two']], [['fd01::1', 'one']]]);
    set({});
    expect([defaults('-4'), defaults('-6')]).toEqual([[], []]);
    expect(ip(name, 'link', 'show', 'lo')[0].flags).toContain('UP');
  });

  it('of others stay', () => {
    run('route', 'add', 'default', 'via', '10.3.0.1');
    run('route', 'add', 'default', 'via', '10.1.0.9', 'metric', '7');
    setRoutes({ netns: netnsPath(name), ifnames: ['two'], gateway4: two, gateway6: null });
    expect(defaults('-4')).toEqual([
      ['10.3.0.1', 'alien'],
      ['10.1.0.9', 'one'],
    ]);
  });

  it('cannot be by an interface that is not there', () => {
    const gateway4 = { ifname: 'three', gateway: '10.1.0.1' };
    expect(() => setRoutes({ netns: netnsPath(name), ifnames, gateway4, gateway6: null })).toThrow(
      'interface three has vanished',
    );
    expect(() => setRoutes({ netns: '/run/netns/none', ifnames, gateway4: null, gateway6: null })).toThrow(
      'there is no such namespace',
    );
  });
});

describe('routes of the host', () => {
  it('are those that ip shows, without the default', () => {
    run('route', 'add', 'default', 'via', '10.1.0.1');
    run('route', 'add', '10.9.0.0/16', 'via', '10.2.0.1');
    run('route', 'add', '192.0.2.7', 'dev', 'two');
    const shown: { dst: string }[] = ip(name, '-4', 'route');
    const expected = shown.flatMap(({ dst }) =>
      dst === 'default' ? [] : dst.includes('/') ? dst : `${dst}/32`,
    );
    expect(expected).toContain('192.0.2.7/32');
    const namespace = openNamespace(netnsPath(name));
    try {
      const routes = inNamespace(namespace, hostRoutes);
      expect(routes.filter((route) => !route.includes(':'))).toEqual(expected);
    } finally {
      namespace.close();
    }
  });
});
