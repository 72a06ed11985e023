import { BULK_PORT } from './contender.ts';

/** Where the web server listens. */
export const HTTP_PORT = 5204;
/** Where the server that speaks first listens. */
export const FIRST_BYTE_PORT = 5205;

/** What a container publishes, whoever connects it. */
export const SERVED_PORTS: readonly number[] = [BULK_PORT, HTTP_PORT, FIRST_BYTE_PORT];
