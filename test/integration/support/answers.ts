import { get } from 'node:http';

/** Whether a homeserver answers, asked by a connection of its own: one that this process has kept, Steward's too, may be of the server before. */
export function answers(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    get(`${url}/_matrix/client/versions`, { agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode === 200);
    }).on('error', () => resolve(false));
  });
}
