import { existsSync } from 'node:fs';
import type { AttachmentBody } from '../../control/api-schema.ts';
import type { Attachment } from '../../control/attachments.ts';
import type { Endpoint } from '../../control/endpoint.ts';
import { DeckError } from '../../control/error.ts';
import { attachmentGroup, attachmentId } from '../attachment-id.ts';
import type { Daemon, Reach } from '../daemon.ts';
import type { Answer } from '../executable.ts';
import { object, objects, requiredText } from '../fields.ts';
import { CNI_CODES, type CniCode, CniError } from './error.ts';
import {
  CNI_VERSIONS,
  type CniCommand,
  type CniRequest,
  type CniVersion,
  inConfiguration,
  isVersion,
  LATEST,
  parseConfiguration,
  parseRequest,
} from './request.ts';
import { differences, resultOf } from './result.ts';
import { wishesOf } from './wishes.ts';

/** Attachments that are there still, of GC. */
const VALID = 'cni.dev/valid-attachments';

export interface CniParts {
  env: NodeJS.ProcessEnv;
  /** The network configuration. Throws a `DeckError` when it does not come. */
  input(): Promise<string>;
  reach: Reach;
  /** Whether there is a file; for tests. */
  exists?(path: string): boolean;
}

/**
 * The CNI plugin (CNI specification 0.3.1 to 1.1.0): carries out one call of a runtime at the daemon. It remembers nothing:
 * an attachment has an id that follows from the name of the network configuration, the container and the interface.
 */
export async function answerCni(parts: CniParts): Promise<Answer> {
  let version: CniVersion = LATEST;
  try {
    const command = parts.env['CNI_COMMAND'] ?? '';
    const json = await parts.input().catch((error: Error) => {
      throw new CniError(CNI_CODES.io, error.message);
    });
    if (command === 'VERSION') return said(versions(json));
    const configuration = command === '' ? {} : parseConfiguration(json);
    if (isVersion(configuration['cniVersion'])) version = configuration['cniVersion'];
    const request = parseRequest(command, parts.env, configuration);
    const result = await COMMANDS[request.command](request, parts);
    return result === undefined ? { code: 0 } : said(result);
  } catch (error) {
    const { code, message, details } = asCniError(error, codeFor);
    return {
      ...said({ cniVersion: version, code, msg: message, ...(details !== '' && { details }) }),
      code: 1,
    };
  }
}

const COMMANDS: Record<CniCommand, (request: CniRequest, parts: CniParts) => Promise<object | undefined>> = {
  ADD: add,
  DEL: remove,
  CHECK: check,
  GC: collect,
  STATUS: status,
};

async function add(
  request: CniRequest,
  { reach, exists = existsSync }: CniParts,
): Promise<object | undefined> {
  const { network, netns, ifname, containerId, name, host } = request;
  const wishes = inConfiguration(() => wishesOf(request));
  // Said before anything is asked: the runtime needs not clean up what has not begun.
  checkNamespace(netns, exists);
  const body: AttachmentBody = {
    ...wishes,
    id: idOf(request),
    netns,
    network,
    ifname,
    labels: { 'cni.network': name, 'cni.container': containerId },
  };
  const daemon = reach(host);
  const attachment = await daemon.post<Attachment>('/v1/attachments', body);
  try {
    return inConfiguration(() => resultOf(attachment, request));
  } catch (error) {
    // What the result is to say besides is no JSON of the kind that it has to be.
    await detach(daemon, body.id);
    throw error;
  }
}

async function remove(request: CniRequest, { reach }: CniParts): Promise<undefined> {
  await detach(reach(request.host), idOf(request));
}

async function check(request: CniRequest, { reach, exists = existsSync }: CniParts): Promise<undefined> {
  const { configuration, containerId, netns, ifname, host } = request;
  if (configuration['prevResult'] === undefined) {
    throw new CniError(CNI_CODES.invalidConfiguration, 'CHECK needs prevResult in the network configuration');
  }
  inConfiguration(() => object(configuration, 'prevResult'));
  checkNamespace(netns, exists);
  let attachment: Attachment;
  try {
    attachment = await reach(host).get<Attachment>(`/v1/attachments/${idOf(request)}`);
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new CniError(
      CNI_CODES.unknownContainer,
      `container ${containerId} has no interface ${ifname} of network ${request.name}`,
    );
  }
  const found = inConfiguration(() => differences(attachment, request));
  if (found.length > 0) throw new CniError(CNI_CODES.changed, found[0]!, found.slice(1).join('; '));
}

/** Goes on when one cannot be removed: the next collection will have another try. */
async function collect(request: CniRequest, { reach }: CniParts): Promise<undefined> {
  const { configuration, name, host } = request;
  if (configuration[VALID] === undefined) {
    throw new CniError(CNI_CODES.invalidConfiguration, `GC needs ${VALID} in the network configuration`);
  }
  const group = groupOf(name);
  const valid = inConfiguration(() =>
    objects(configuration, VALID).map((one) =>
      attachmentId(group, requiredText(one, 'containerID'), requiredText(one, 'ifname')),
    ),
  );
  const daemon = reach(host);
  const endpoints = await daemon.get<Endpoint[]>('/v1/endpoints');
  const failures: CniError[] = [];
  for (const { id } of endpoints) {
    if (!id.startsWith(group) || valid.includes(id)) continue;
    await detach(daemon, id).catch((error: unknown) => failures.push(asCniError(error, codeFor)));
  }
  const [first, ...others] = failures;
  if (!first) return;
  throw new CniError(first.code, first.message, others.map(({ message }) => message).join('; '));
}

async function status({ network, host }: CniRequest, { reach }: CniParts): Promise<undefined> {
  try {
    await reach(host).get(`/v1/networks/${encodeURIComponent(network)}`);
  } catch (error) {
    throw asCniError(error, () => CNI_CODES.notAvailable);
  }
}

function checkNamespace(netns: string, exists: (path: string) => boolean): void {
  if (exists(netns)) return;
  throw new CniError(CNI_CODES.unknownContainer, `there is no network namespace at ${netns}`);
}

async function detach(daemon: Daemon, id: string): Promise<void> {
  await daemon.delete(`/v1/attachments/${id}`);
}

function idOf({ name, containerId, ifname }: CniRequest): string {
  return attachmentId(groupOf(name), containerId, ifname);
}

function groupOf(name: string): string {
  return attachmentGroup('cni', name);
}

/** "The value of cniVersion specified on input", or the newest for one that we do not know. */
function versions(json: string): object {
  const configuration = json.trim() === '' ? {} : parseConfiguration(json);
  const { cniVersion } = configuration;
  return { cniVersion: isVersion(cniVersion) ? cniVersion : LATEST, supportedVersions: CNI_VERSIONS };
}

function said(result: object): Answer {
  return { code: 0, out: `${JSON.stringify(result)}\n` };
}

/** What a refusal of the daemon's is to a runtime. A namespace has been looked for before: what is missing is configured. */
function codeFor(code: DeckError['code']): CniCode {
  switch (code) {
    case 'unavailable':
      return CNI_CODES.tryAgainLater;
    case 'conflict':
      return CNI_CODES.conflict;
    case 'permission':
      return CNI_CODES.permission;
    default:
      return CNI_CODES.invalidConfiguration;
  }
}

function asCniError(error: unknown, codeOf: (code: DeckError['code']) => CniCode): CniError {
  if (error instanceof CniError) return error;
  if (error instanceof DeckError) return new CniError(codeOf(error.code), error.message);
  return new CniError(codeOf('unavailable'), `tapdeck failed at it: ${(error as Error).message}`);
}

function isMissing(error: unknown): boolean {
  return error instanceof DeckError && error.code === 'not-found';
}
