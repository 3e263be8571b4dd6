import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Taken {
  method: string | undefined;
  path: string | undefined;
  headers: IncomingMessage['headers'];
  body: unknown;
}

/** A real HTTP server that keeps what is posted to it. */
export async function openHttpReceiver() {
  const taken: Taken[] = [];
  let attempts = 0;
  let failing: { status: number; times: number; headers?: Record<string, string> } = { status: 500, times: 0 };
  let hanging = false;
  const server = createServer((request, response) => {
    void request
      .setEncoding('utf8')
      .toArray()
      .then((parts: string[]) => {
        attempts += 1;
        if (hanging) return;
        if (failing.times > 0) {
          failing.times -= 1;
          response.writeHead(failing.status, failing.headers ?? {}).end('hidden');
          return;
        }
        taken.push({ method: request.method, path: request.url, headers: request.headers, body: JSON.parse(parts.join('')) });
        response.writeHead(200).end('{}');
      });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    taken,
    attempts: () => attempts,
    fail: (status: number, times: number, headers: Record<string, string> = {}) => {
      failing = { status, times, headers };
    },
    hang: () => {
      hanging = true;
    },
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}
