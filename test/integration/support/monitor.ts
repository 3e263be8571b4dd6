import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A monitor on loopback that counts heartbeats, and takes none while it is told so. */
export interface Monitor {
  readonly url: string;
  /** Heartbeats that were taken, by method. */
  readonly beats: readonly string[];
  /** What it answers; it takes a heartbeat where that is below 300. */
  status: number;
  close(): void;
}

export async function openMonitor(): Promise<Monitor> {
  const beats: string[] = [];
  const server = createServer((request, response) => {
    if (monitor.status < 300) beats.push(`${request.method ?? ''} ${request.url ?? ''}`);
    response.writeHead(monitor.status).end();
  });
  server.unref();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(null)));
  const { port } = server.address() as AddressInfo;
  const monitor: Monitor = {
    url: `http://127.0.0.1:${port}/ping/83cd2f`,
    beats,
    status: 200,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
  return monitor;
}
