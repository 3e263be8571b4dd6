// package-lock.json must hold an entry for each optional platform package, or `npm ci` refuses it; npm leaves out those it
// could not see when the lock was written. Also: the abandoned package `request` stays replaced by packages/request-fetch.
//   node scripts/lock.ts           says what is wrong
//   node scripts/lock.ts --write   adds the missing entries (version and platform, no checksum)
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface Locked {
  version?: string;
  link?: boolean;
  resolved?: string;
  dev?: boolean;
  license?: string;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  optionalDependencies?: Record<string, string>;
}

const path = join(import.meta.dirname, '..', 'package-lock.json');
const REPLACED = ['request', 'request-promise', '@matrix-org/matrix-sdk-crypto-nodejs'];
const SYSTEMS = ['linux', 'darwin', 'win32', 'freebsd', 'android', 'openharmony'];
const PROCESSORS = ['x64', 'arm64', 'ia32', 'arm', 'ppc64', 's390x', 'riscv64', 'loong64'];

function missing(packages: Record<string, Locked>): Record<string, Locked> {
  const found: Record<string, Locked> = {};
  for (const { dev, license, optionalDependencies = {} } of Object.values(packages)) {
    for (const [name, version] of Object.entries(optionalDependencies)) {
      if (Object.keys(packages).some((place) => place.endsWith(`node_modules/${name}`))) continue;
      const words = name.split(/[/-]/);
      const os = SYSTEMS.find((word) => words.includes(word));
      const cpu = PROCESSORS.find((word) => words.includes(word));
      found[`node_modules/${name}`] = {
        version,
        ...(cpu && { cpu: [cpu] }),
        ...(dev && { dev }),
        ...(os === 'linux' && { libc: [words.includes('musl') ? 'musl' : 'glibc'] }),
        ...(license && { license }),
        optional: true,
        ...(os && { os: [os] }),
      };
    }
  }
  return found;
}

function notReplaced(packages: Record<string, Locked>): string[] {
  return Object.entries(packages)
    .filter(([place, { link }]) => REPLACED.some((name) => place.endsWith(`node_modules/${name}`)) && !link)
    .map(([place]) => place);
}

const lock = JSON.parse(readFileSync(path, 'utf8')) as { packages: Record<string, Locked> };
const absent = missing(lock.packages);
const real = notReplaced(lock.packages);

if (process.argv.includes('--write')) {
  const all = Object.entries({ ...lock.packages, ...absent });
  lock.packages = Object.fromEntries(all.sort(([a], [b]) => a.localeCompare(b, 'en')));
  writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
} else {
  for (const place of Object.keys(absent)) console.error(`package-lock.json has no entry for ${place}: run node scripts/lock.ts --write`);
  if (Object.keys(absent).length > 0) process.exitCode = 1;
}
for (const place of real) {
  console.error(`package-lock.json holds the real ${place}: "overrides" in package.json must replace it`);
  process.exitCode = 1;
}
