// npm run check: types, lint, import directions, unused code, lock file, generated files
import { describe, runChecks } from './checks.ts';

const results = await runChecks((result) => console.log(describe(result)));
process.exitCode = results.every(({ ok }) => ok) ? 0 : 1;
