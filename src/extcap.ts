#!/usr/bin/env node
/**
 * `tapdeck extcap` as a program of its own, which Wireshark starts from its folder for extcap (`tshark -G folders`): installed
 * as `tapdeck-extcap`, built to dist/src/extcap.js. `tapdeck install wireshark` puts it there.
 */
process.argv.splice(2, 0, 'extcap');
await import('./main.ts');
