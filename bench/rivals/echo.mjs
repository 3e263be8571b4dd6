// The least that a bot on matrix-bot-sdk can be: answers `%echo`. The state lives in memory, so that each start begins anew.
import { readFileSync } from 'node:fs';
import { LogLevel, LogService, MatrixClient, MemoryStorageProvider } from 'matrix-bot-sdk';

const [url, tokenFile] = process.argv.slice(2);
LogService.setLevel(LogLevel.ERROR);
const client = new MatrixClient(url, readFileSync(tokenFile, 'utf8').trim(), new MemoryStorageProvider());

client.on('room.message', async (roomId, event) => {
  if (event.sender === (await client.getUserId()) || event.content?.body !== '%echo') return;
  await client.sendMessage(roomId, { msgtype: 'm.notice', body: 'echo' });
});

// Ready is told when the first sync has been answered and processed.
const processSync = client.processSync.bind(client);
client.processSync = async (...args) => {
  await processSync(...args);
  client.processSync = processSync;
  console.log('ready');
};
await client.start();
