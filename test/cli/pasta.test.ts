import { expect, test } from 'vitest';
import { readPastaOptions, readPorts } from '../../src/integrations/pasta/options.ts';

const PODMAN =
  '--config-net -t 127.0.0.1/8080-8081:80-81 -t 9000 -u [::1]/53:5353 --dns-forward 169.254.1.1 -u none -T none -U none --no-map-gw --quiet --netns /run/user/1000/netns/netns-1 --pid /tmp/p';
const ROOTLESSKIT =
  '--stderr --ns-ifname=tap0 --mtu=65520 --config-net --address=10.0.2.100 --netmask=24 --gateway=10.0.2.2 --dns-forward=10.0.2.3 --no-map-gw --ipv4-only --tcp-ports=none --udp-ports=none 7';

test('is read as Podman and RootlessKit write it', () => {
  expect(readPastaOptions(PODMAN.replace('[::1]', '::1').split(' '))).toEqual({
    target: { netns: '/run/user/1000/netns/netns-1' },
    ifname: 'eth0',
    mtu: 65520,
    ipv6: true,
    network: { name: 'pasta', ipv6: true, options: { 'tapdeck.dns': '169.254.1.1' } },
    guest: undefined,
    hostLoopback: false,
    publish: ['127.0.0.1:8080-8081:80-81/tcp', '9000:9000/tcp', '[::1]:53:5353/udp'],
    pidFile: '/tmp/p',
    foreground: false,
  });
  expect(readPastaOptions(ROOTLESSKIT.split(' '))).toMatchObject({
    target: { pid: 7 },
    ifname: 'tap0',
    ipv6: false,
    network: { name: 'slirp4netns', subnet: '10.0.2.0/24', gateway: '10.0.2.2' },
    guest: '10.0.2.100',
    publish: [],
  });
  expect(readPastaOptions(['--config-net', '--dns-forward=192.0.2.53', '7'])).toMatchObject({
    network: { name: 'pasta-192.0.2.53', options: { 'tapdeck.dns': '192.0.2.53' } },
    hostLoopback: true,
  });
});

// Podman looks for these words, and does without the option then.
test('an option that is too new is not recognized, in the words of getopt', () => {
  const args = [...PODMAN.replace('[::1]', '::1').split(' '), '--map-guest-addr', '169.254.1.2'];
  expect(() => readPastaOptions(args)).toThrow("unrecognized option '--map-guest-addr'");
});

test.each([
  [['7'], 'add --config-net'],
  [['--config-net'], 'give --netns PATH, or a PID'],
  [['--config-net', '--', 'sh', '-c', 'id'], 'starts no command'],
  [['--config-net', '-T', 'auto', '7'], '--tcp-ns "auto"'],
  [['--config-net', '-m', '1000', '7'], '--mtu "1000"'],
  [['--config-net', '-a', '10.0.2.7', '7'], 'tapdeck has 10.0.2.100 for the container'],
  [['--config-net', '-a', '10.0.2.100', '-n', '99', '7'], '--netmask "99"'],
  [['--config-net', '-g', '10.0.2.2', '7'], 'takes an --address'],
])('%j is refused', (args, message) => {
  expect(() => readPastaOptions(args)).toThrow(message);
});

test.each(['auto', 'all', '~22', 'x/y'])('ports %s are refused', (text) => {
  expect(() => readPorts('tcp', text)).toThrow(`-t "${text}"`);
});
