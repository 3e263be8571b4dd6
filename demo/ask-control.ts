// ask-control.ts PORT-FILE VERB: what Steward runs to stop and start the demo's Synapse.
import { readFile } from 'node:fs/promises';

const [portFile = '', verb = ''] = process.argv.slice(2);
const port = await readFile(portFile, 'utf8');
const answer = await fetch(`http://127.0.0.1:${port}/${verb}`);
process.stdout.write(await answer.text());
process.exitCode = answer.ok ? 0 : 1;
