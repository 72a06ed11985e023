import type { AttachmentBody } from '../../control/api-schema.ts';
import type { Attachment } from '../../control/attachments.ts';
import type { Endpoint } from '../../control/endpoint.ts';
import { invalid } from '../../control/error.ts';
import { isName, quote } from '../../control/name.ts';
import { attachmentGroup, attachmentId } from '../attachment-id.ts';
import type { Daemon, Reach } from '../daemon.ts';
import type { Answer } from '../executable.ts';
import { type Fields, object, parseFields, text, whole } from '../fields.ts';

/** The annotation without which the hook does nothing. */
export const NETWORK_ANNOTATION = 'tapdeck.network';

/** Annotations, and what they say. */
const ANNOTATIONS = ['network', 'name', 'ip', 'ip6', 'mac', 'ifname', 'aliases', 'publish'] as const;
type Annotation = (typeof ANNOTATIONS)[number];
const PREFIX = 'tapdeck.';

/** Stages of a container's life at which there is something to do (OCI runtime specification, config.md, "POSIX-platform Hooks"). */
const STAGES = ['createRuntime', 'poststop'] as const;
type Stage = (typeof STAGES)[number];

/** Digits of a long id that people are shown. */
const SHORT_ID = 12;

export interface HookParts {
  /** The stage, which is told from the state when left out, and `--host unix:///PATH`. */
  args: readonly string[];
  /** The container's state. Throws a `DeckError` when it does not come. */
  input(): Promise<string>;
  reach: Reach;
}

/**
 * The hook of OCI runtimes, createRuntime and poststop: connects a container to the networks that its annotation names, and
 * takes away what is left of it. That it fails ends a container that is being created.
 */
export async function answerHook({ args, input, reach }: HookParts): Promise<Answer> {
  try {
    const { stage, host } = parseArgs(args);
    const state = parseFields(await input(), "the container's state");
    const id = text(state, 'id');
    if (id === undefined) throw invalid("the container's state has no id");
    const daemon = () => reach(host);
    if ((stage ?? stageOf(state)) === 'poststop') await leave(id, daemon);
    else await join(id, state, daemon);
    return { code: 0 };
  } catch (error) {
    return { code: 1, err: `tapdeck: ${(error as Error).message}\n` };
  }
}

async function join(id: string, state: Fields, reach: () => Daemon): Promise<void> {
  const annotations = annotationsOf(state);
  const networks = listed(annotations.get('network'));
  // One hook is for all containers, and this one has nothing to do with us.
  if (networks.length === 0) return;
  const pid = whole(state, 'pid') ?? 0;
  if (pid <= 0) throw invalid(`the state of container ${quote(id)} has no process; it is gone`);
  const daemon = reach();
  const made: string[] = [];
  let leadsOut = false;
  try {
    for (const [index, network] of networks.entries()) {
      const body = bodyOf({ id, pid, network, isFirst: index === 0 }, annotations);
      const attachment = await daemon.post<Attachment>('/v1/attachments', body);
      made.push(body.id);
      leadsOut ||= !attachment.network.internal;
    }
    const ports = annotations.get('publish');
    if (ports !== undefined && !leadsOut) {
      throw invalid(
        `ports ${quote(ports)} cannot be published: no network of ${networks.join(', ')} leads out`,
      );
    }
  } catch (error) {
    for (const one of made) await daemon.delete(`/v1/attachments/${one}`).catch(() => {});
    throw error;
  }
}

/** Takes away all that this container has: what its annotations were then is not asked. */
async function leave(id: string, reach: () => Daemon): Promise<void> {
  const daemon = reach();
  const group = groupOf(id);
  const endpoints = await daemon.get<Endpoint[]>('/v1/endpoints');
  for (const endpoint of endpoints.filter((one) => one.id.startsWith(group))) {
    await daemon.delete(`/v1/attachments/${endpoint.id}`);
  }
}

interface Place {
  id: string;
  pid: number;
  network: string;
  isFirst: boolean;
}

/** What says which address or interface is meant is for the first network. */
function bodyOf(
  { id, pid, network, isFirst }: Place,
  annotations: ReadonlyMap<Annotation, string>,
): AttachmentBody {
  const own = (['ip', 'ip6', 'mac', 'ifname'] as const).flatMap((key) => {
    const value = annotations.get(key);
    return isFirst && value !== undefined ? [[key, value] as const] : [];
  });
  const name = annotations.get('name') ?? (/^[0-9a-f]{64}$/.test(id) ? id.slice(0, SHORT_ID) : id);
  return {
    id: attachmentId(groupOf(id), network),
    pid,
    network,
    ...Object.fromEntries(own),
    aliases: listed(annotations.get('aliases')),
    publish: listed(annotations.get('publish')),
    ...(isName(name) && { name }),
    labels: { 'oci.container': id },
  };
}

function groupOf(id: string): string {
  return attachmentGroup('oci', id);
}

function annotationsOf(state: Fields): ReadonlyMap<Annotation, string> {
  const annotations = object(state, 'annotations');
  const found = new Map<Annotation, string>();
  for (const key of Object.keys(annotations).filter((one) => one.startsWith(PREFIX))) {
    const name = ANNOTATIONS.find((one) => key === PREFIX + one);
    if (!name) {
      throw invalid(
        `annotation ${quote(key)} is unknown; there are ${ANNOTATIONS.map((one) => PREFIX + one).join(', ')}`,
      );
    }
    const value = text(annotations, key);
    if (value !== undefined) found.set(name, value);
  }
  return found;
}

/** Between commas or white space: Podman takes commas in an annotation for itself. */
function listed(value = ''): string[] {
  return value.split(/[\s,]+/).filter((one) => one !== '');
}

/** Engines that have one hook for several stages give the same arguments to all. */
function stageOf(state: Fields): Stage {
  return text(state, 'status') === 'stopped' ? 'poststop' : 'createRuntime';
}

function parseArgs(args: readonly string[]): { stage: Stage | undefined; host: string | undefined } {
  let stage: Stage | undefined;
  let host: string | undefined;
  for (let at = 0; at < args.length; at++) {
    const word = args[at]!;
    const known = STAGES.find((one) => one === word);
    if (known) stage = known;
    else if (word === '--host' && at + 1 < args.length) host = args[++at];
    else throw invalid(`${quote(word)} is unknown; there are ${STAGES.join(', ')} and --host unix:///PATH`);
  }
  return { stage, host };
}
