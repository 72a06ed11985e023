import { request } from 'node:http';

/** Milliseconds for an answer; Docker is on the same machine. */
const TIMEOUT = 5000;
/** Bytes of an answer: some thousand containers. */
const LARGEST = 32 << 20;

/** What of the answer to `GET /containers/json` counts (Docker Engine API v1.41). */
interface ListedContainer {
  readonly Names?: readonly string[];
  readonly NetworkSettings?: {
    readonly Networks?: Readonly<Record<string, { readonly EndpointID?: string }>>;
  };
}

/** Where Docker listens: what DOCKER_HOST says if that is a unix socket, else its usual place. */
export function dockerSocket(env: NodeJS.ProcessEnv = process.env): string {
  return /^unix:\/\/(\/.+)$/s.exec(env['DOCKER_HOST'] ?? '')?.[1] ?? '/var/run/docker.sock';
}

/**
 * Asks Docker what the container is called that has an endpoint: drivers are not told. undefined while Docker does not
 * know; throws when it cannot be asked.
 */
export async function containerName(socketPath: string, endpointId: string): Promise<string | undefined> {
  const containers = JSON.parse(await get(socketPath, '/containers/json')) as ListedContainer[];
  const found = containers.find(({ NetworkSettings }) =>
    Object.values(NetworkSettings?.Networks ?? {}).some(({ EndpointID }) => EndpointID === endpointId),
  );
  return found?.Names?.[0]?.replace(/^\//, '');
}

function get(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path, agent: false, headers: { host: 'docker' } }, (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        length += chunk.length;
        if (length > LARGEST) sent.destroy(new Error('the answer is too long'));
      });
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(Buffer.concat(chunks).toString('utf8'));
        else reject(new Error(`Docker answers ${response.statusCode}`));
      });
    });
    sent.setTimeout(TIMEOUT, () => sent.destroy(new Error('Docker does not answer')));
    sent.on('error', reject);
    sent.end();
  });
}
