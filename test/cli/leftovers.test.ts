import { describe, expect, it } from 'vitest';
import { mayBeOfSandbox } from '../../src/cli/leftovers.ts';

describe('what the tour may have left behind', () => {
  it.each([
    ['47 42 0:52 /hosts /etc/hosts rw,relatime - tmpfs tapdeck rw,size=1024k,mode=755', true],
    ['48 42 0:52 / /sys/kernel rw,relatime shared:3 - tmpfs tapdeck rw,size=1024k,mode=755', true],
    ['49 42 0:53 / /sys rw,nosuid,nodev,noexec,relatime - sysfs tapdeck rw', true],
    ['179 42 0:4 net:[4026532820] /run/netns/web rw shared:2 - nsfs nsfs rw', false],
    ['180 42 0:60 / /var/lib/docker/overlay2/1/merged rw - overlay overlay rw,lowerdir=a', false],
    ['', false],
  ])('%s: %s', (line, expected) => {
    expect(mayBeOfSandbox(line)).toBe(expected);
  });
});
