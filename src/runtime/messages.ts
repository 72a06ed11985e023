import type { MessagePort } from 'node:worker_threads';
import type { PortId } from '../../switch/frame.ts';
import type { ForwardedQuery } from '../../switch/name-server.ts';
import type { HashKey } from '../../wire/hash.ts';
import type { ConntrackOptions, FlowEvent } from '../dataplane/commands.ts';
import type { WorkerMethods } from './worker.ts';

/** What the data-plane thread is started with. */
export interface ThreadData {
  seed: number;
  /** Key of all hashes; when absent it follows from the seed. */
  key?: HashKey;
  conntrack?: ConntrackOptions;
  /** Rung by the main thread after each request. */
  eventfd: number;
  requests: MessagePort;
}

export type Method = keyof WorkerMethods;

/** Main thread to data plane. */
export interface Request {
  id: number;
  method: Method;
  args: unknown[];
}

/** Data plane to main thread: the answer to one request; of an error of the system with the name of its errno. */
export type Reply = { id: number; value: unknown } | { id: number; error: string; code?: string };

/** Data plane to main thread, unasked. */
export type Notice =
  | { notice: 'gone'; port: PortId }
  /** What happened to connections; to be answered with `takenFlows`. `lost` events before them are missing. */
  | { notice: 'flows'; events: readonly FlowEvent[]; lost: number }
  /** A question about a name outside; to be answered with `answerQuery`. */
  | { notice: 'query'; query: ForwardedQuery }
  /** The recording had no room for a record, and has ended with the one before; to be answered with `stopRecording`. */
  | { notice: 'overrun' }
  /** There is something in the ring of an observation whose reader waits. */
  /** The descriptor is no longer used; closing a TAP takes 15 ms, so the data plane does not do it. */
  | { notice: 'close'; fd: number }
  | { notice: 'log'; level: 'warn' | 'error'; message: string };
