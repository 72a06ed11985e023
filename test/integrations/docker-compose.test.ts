import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { DockerEngine } from './docker-engine.ts';

// The real docker-compose, with networks of driver tapdeck in its file.

let engine: DockerEngine;
let folder: string;

beforeAll(async () => {
  engine = new DockerEngine();
  folder = mkdtempSync(join(tmpdir(), 'td-compose-'));
  await engine.startDaemon();
  await engine.startDockerd();
  await engine.makeImage();
});
afterAll(async () => {
  await engine.close();
  rmSync(folder, { recursive: true, force: true });
});

const FILE = (driver: string) => `
version: "2.4"
services:
  web:
    image: image
    command: sh -c "echo hello > /www/index.html; exec httpd -f -h /www"
    networks:
      front: { ipv4_address: 10.77.0.10, aliases: [shop] }
      back: { ipv4_address: 10.78.0.10 }
    ports: ["8080:80"]
  db:
    image: image
    command: sleep 1000
    networks:
      back: { ipv4_address: 10.78.0.20 }
  client:
    image: image
    command: sleep 1000
    networks: [front]
networks:
  front:
    driver: ${driver}
    ipam: { config: [{ subnet: 10.77.0.0/24, gateway: 10.77.0.1 }] }
  back:
    driver: ${driver}
    internal: true
    ipam: { config: [{ subnet: 10.78.0.0/24 }] }
`;

it('brings a project up and down, with static addresses, aliases and published ports', async () => {
  writeFileSync(join(folder, 'docker-compose.yml'), FILE(engine.driver));
  await engine.compose(folder, 'up', '-d');
  const pings = async (from: string, to: string) =>
    (await engine.docker('exec', `shop_${from}_1`, 'ping', '-c', '1', '-W', '2', to)).code === 0;
  expect(await pings('client', 'shop')).toBe(true);
  expect(await pings('client', '10.77.0.10')).toBe(true);
  expect(await pings('web', 'db')).toBe(true);
  expect(await pings('db', '10.78.0.10')).toBe(true);
  expect(await pings('client', '10.78.0.20')).toBe(false);
  const { out } = await engine.onHost('curl', '-s', '-m', '5', 'http://127.0.0.1:8080/');
  expect(out).toBe('hello\n');
  // What has not changed stays; what has is made again with the same address.
  writeFileSync(
    join(folder, 'docker-compose.yml'),
    FILE(engine.driver).replace('command: sleep 1000', 'command: sleep 2000'),
  );
  await engine.compose(folder, 'up', '-d');
  expect(await pings('web', '10.78.0.20')).toBe(true);
  await engine.compose(folder, 'restart', '-t', '0', 'db');
  expect(await pings('web', 'db')).toBe(true);
  await engine.compose(folder, 'down', '-t', '0');
  expect((await engine.account.ok('ps')).trim().split('\n')).toHaveLength(1);
  expect(await engine.account.ok('network', 'ls', '-q')).not.toContain('docker-');
  expect(await engine.interfaces()).toEqual([]);
});
