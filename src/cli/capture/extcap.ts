import type { DaemonClient } from '../../control/client.ts';
import { DaemonAbsent } from '../../control/client.ts';
import type { Container } from '../../control/container.ts';
import { DeckError } from '../../control/error.ts';
import { packageVersion } from '../../control/version.ts';
import { EXIT_DONE, EXIT_FAILED } from '../output.ts';
import { type CaptureFlags, capture, checkFilter } from './capture.ts';
import { type CaptureSource, captureSources } from './interfaces.ts';

/** What Wireshark asks for, as extcap(4) has it; its other options are accepted and mean nothing to us. */
export interface ExtcapFlags {
  extcapInterfaces?: boolean;
  extcapInterface?: string;
  extcapDlts?: boolean;
  extcapConfig?: boolean;
  extcapReloadOption?: string;
  extcapCaptureFilter?: string;
  capture?: boolean;
  fifo?: string;
  port?: string;
  snaplen?: string;
  buffer?: string;
}

/** In front of the names of our interfaces in Wireshark, where there are others. */
const PREFIX = 'tapdeck-';
const LINKTYPE_ETHERNET = 1;

/** Answers one question of Wireshark's, or captures into its FIFO until it has had enough. */
export async function extcap(client: DaemonClient, flags: ExtcapFlags): Promise<number> {
  const print = (lines: readonly string[]) => process.stdout.write(lines.map((line) => `${line}\n`).join(''));
  if (flags.extcapInterfaces) {
    print(await interfaces(client));
    return EXIT_DONE;
  }
  const { extcapInterface } = flags;
  if (extcapInterface === undefined) {
    throw new DeckError(
      'invalid',
      'this is for Wireshark to call; try --extcap-interfaces, or use "tapdeck capture"',
    );
  }
  const source = sourceOf(extcapInterface);
  if (flags.extcapDlts) {
    print([`dlt {number=${LINKTYPE_ETHERNET}}{name=EN10MB}{display=Ethernet}`]);
    return EXIT_DONE;
  }
  if (flags.extcapConfig) {
    print(await configuration(client, source));
    return EXIT_DONE;
  }
  if (!flags.capture) return checkCaptureFilter(flags.extcapCaptureFilter ?? '');
  if (flags.fifo === undefined) throw new DeckError('invalid', '--capture needs --fifo PATH');
  const chosen = (flags.port ?? '').split(',').filter((name) => name !== '');
  const wanted: CaptureFlags = {
    write: flags.fifo,
    quiet: true,
    interface: chosen.length > 0 ? chosen.map((name) => `container:${name}`) : [source],
    ...(flags.snaplen && { snapshotLength: flags.snaplen }),
    ...(flags.buffer && { bufferSize: flags.buffer }),
  };
  return capture(client, wanted, [flags.extcapCaptureFilter ?? '']);
}

/** Wireshark takes what is printed for what is wrong with a filter, and silence for consent. */
function checkCaptureFilter(text: string): number {
  try {
    checkFilter(text);
    return EXIT_DONE;
  } catch (error) {
    if (!(error instanceof DeckError)) throw error;
    process.stdout.write(`${error.message}\n`);
    return EXIT_FAILED;
  }
}

async function interfaces(client: DaemonClient): Promise<string[]> {
  return [
    `extcap {version=${packageVersion()}}{display=tapdeck}`,
    ...(await sourcesOf(client)).map(
      ({ name, kind, description }) =>
        `interface {value=${PREFIX}${name}}{display=${words(`tapdeck ${kind === 'all' ? 'everything' : `${kind} ${name} (${description})`}`)}}`,
    ),
  ];
}

/** Wireshark asks at its start, whether there is a deck or not. */
async function sourcesOf(client: DaemonClient): Promise<CaptureSource[]> {
  try {
    return await captureSources(client);
  } catch (error) {
    if (error instanceof DaemonAbsent) return [];
    throw error;
  }
}

function sourceOf(name: string): string {
  if (name.startsWith(PREFIX)) return name.slice(PREFIX.length);
  throw new DeckError(
    'invalid',
    `${name} is no interface of tapdeck; --extcap-interfaces lists those that there are`,
  );
}

async function configuration(client: DaemonClient, source: string): Promise<string[]> {
  const { networks, containers } = await portsIn(client, source);
  const ports = containers.map(
    ({ name, endpoints }) =>
      `value {arg=0}{value=${name}}{display=${words(`${name}: ${endpoints.map(({ ifname, network }) => `${ifname} in ${network}`).join(', ')}`)}}{default=false}`,
  );
  return [
    ...(networks && ports.length > 0
      ? [
          'arg {number=0}{call=--port}{display=Only these containers}{type=multicheck}{tooltip=all when none is chosen}',
          ...ports,
        ]
      : []),
    'arg {number=1}{call=--snaplen}{display=Bytes to keep of a packet}{type=unsigned}{range=0,262144}{default=0}{tooltip=0 for all}',
    'arg {number=2}{call=--buffer}{display=Buffer (MiB)}{type=unsigned}{range=1,1024}{default=64}',
  ];
}

/** The containers that can be chosen in a source, which is none of them. */
async function portsIn(
  client: DaemonClient,
  source: string,
): Promise<{ networks: boolean; containers: Container[] }> {
  const found = (await sourcesOf(client)).find(({ name }) => name === source);
  if (!found || found.kind === 'container' || found.kind === 'uplink')
    return { networks: false, containers: [] };
  const name = source.replace(/^network:/, '');
  const containers = (await client.get<Container[]>('/v1/containers')).filter(({ endpoints }) =>
    endpoints.some(({ port, network }) => port >= 0 && (found.kind === 'all' || network === name)),
  );
  return { networks: true, containers };
}

/** Braces end a value. */
function words(text: string): string {
  return text.replaceAll(/[{}]/g, ' ');
}
