import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface SentAlert {
  id: string;
  alerts: string[];
  severity: string;
  title: string;
  body: string;
}

/** A web hook on loopback that keeps what is posted to it. */
export interface Webhook {
  readonly url: string;
  readonly alerts: readonly SentAlert[];
  close(): void;
}

/** What a message says of one alert, which may stand beside others that came or ended with it. */
export function saidOf({ body }: SentAlert, id: string): 'stands' | 'over' | null {
  const lines = body.split('\n').filter((line) => line.endsWith(`(${id})`));
  if (lines.length === 0) return null;
  return lines.every((line) => line.startsWith('over: ')) ? 'over' : 'stands';
}

export async function openWebhook(): Promise<Webhook> {
  const alerts: SentAlert[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => (body += text));
    request.on('end', () => {
      alerts.push(JSON.parse(body) as SentAlert);
      response.end();
    });
  });
  server.unref();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(null)));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/hook-4f9c1e`,
    alerts,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
