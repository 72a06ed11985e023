/**
 * The program that opens a TAP, or changes routes, on behalf of an ordinary user. It is started through nsenter, so
 * that it runs as root of the container's user namespace and in its network namespace, with a unix socket as
 * descriptor 3: in comes the request, out go the answer and the TAP's descriptor. It lives some 100 ms.
 */
import { openTapIn, type TapTarget } from './attach.ts';
import { type RouteTarget, setRoutesIn } from './default-route.ts';
import { currentNamespace } from './netns.ts';
import { receiveMessage, sendMessage } from './socket.ts';
import { close } from './syscall.ts';
import { SyscallError } from './syscall-error.ts';
import type { OpenTap } from './tap.ts';

/** What the helper is asked for. */
export interface HelperRequest {
  /** What messages call the namespace: inside it is only "this one". */
  label: string;
  /** One of the two. */
  target?: TapTarget;
  routes?: RouteTarget;
}

/** What it answers; with `tap` comes the descriptor. */
export interface HelperAnswer {
  tap?: OpenTap;
  error?: { message: string; code?: string };
}

const SOCKET = 3;

const message = receiveMessage(SOCKET, { wait: true });
if (message !== null) {
  const { label, target, routes } = JSON.parse(message.text) as HelperRequest;
  try {
    const namespace = currentNamespace(label);
    if (routes !== undefined) {
      setRoutesIn(namespace, routes);
      answer({});
    } else {
      const tap = openTapIn(namespace, target!);
      answer({ tap }, tap.fd);
    }
  } catch (error) {
    const code = error instanceof SyscallError ? { code: error.code } : {};
    answer({ error: { message: error instanceof Error ? error.message : String(error), ...code } });
  }
}
close(SOCKET);

function answer(content: HelperAnswer, descriptor?: number): void {
  sendMessage(SOCKET, JSON.stringify(content), descriptor);
}
