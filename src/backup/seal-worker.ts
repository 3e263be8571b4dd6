import type { Arrived } from '../stack/stream.ts';
import { serveThread } from '../stack/thread.ts';
import type { FileKey } from './age-payload.ts';
import { seal } from './seal.ts';

await serveThread<FileKey, Uint8Array, Arrived>((fileKey, chunks) => seal(chunks, fileKey));
