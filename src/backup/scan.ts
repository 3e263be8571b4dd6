import type { KeyObject } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { Failure } from '../failures/failure.ts';
import type { BackupStore, EpochRow, PackRow } from '../store/backups.ts';
import { addedBytes, folderOf } from './copy.ts';
import { hashOfText } from './create.ts';
import type { Destination } from './destinations/destination.ts';
import { objectsOf, type Manifest, type ManifestObject, type Proof } from './manifest.ts';
import { mediaIdOf } from './media-index.ts';
import { readManifest, readProof, wholeObject } from './verify.ts';

export interface ScanOptions {
  destination: Destination;
  store: BackupStore;
  signer: KeyObject;
  /** Of the homeserver, or null where none is known: a manifest of another one is not taken. */
  serverName: string | null;
  /** Paths in a list of media, or null without a key: the next backup copies again what nobody can list. */
  openList: (manifest: Manifest, list: ManifestObject) => Promise<string[] | null>;
  clock: Clock;
  signal: AbortSignal;
}

/** What a destination holds, and what does not belong. Names are objects' or backups'. */
export interface ScanReport {
  destination: string;
  /** Backups that are there. */
  backups: string[];
  /** Of these, those that the catalogue had not. */
  added: string[];
  /** That the catalogue had, and that are not there any more. */
  gone: string[];
  /** Manifests that another Steward signed, or that are of another homeserver. */
  foreign: string[];
  /** Manifests that cannot be read. */
  damaged: string[];
  /** Objects that a backup names, and that are not there as it says. */
  missing: string[];
  /** Objects that no backup names. */
  extra: string[];
  /** Packs whose lists could not be opened. */
  sealed: number;
}

interface Found {
  manifest: Manifest;
  text: string;
  proof: Proof | null;
  missing: string[];
}

/** Folders of backups; whatever else lies at the top of a destination is not ours to judge. */
const backupFolder = /^\d{8}_\d{6}$/;
/** What the scripts write last into one of theirs, which may lie beside. */
const scriptsManifest = /^\d{8}_\d{6}\/(MANIFEST|backup-info)\.txt$/;
const beside = /^(manifest\.json|RESTORE\.txt|proof[\w.-]*\.json|proofs\/.+)$/;

/**
 * Makes the catalogue of a destination anew from what lies there: manifests, proofs, packs, sealed keys. What the catalogue
 * alone knows of a backup that is there (pins, levels of the stored object) stays.
 *
 * @throws Failure of the destination
 */
export async function scanDestination(options: ScanOptions): Promise<ScanReport> {
  const { destination, store } = options;
  const objects = new Map<string, number>();
  for await (const { name, bytes } of destination.list('')) objects.set(name, bytes);
  const report: ScanReport = {
    ...{ destination: destination.name, backups: [], added: [], gone: [], foreign: [], damaged: [], missing: [], extra: [], sealed: 0 },
  };
  const folders = [...new Set([...objects.keys()].map((name) => name.split('/')[0] ?? ''))]
    .filter((name) => backupFolder.test(name))
    .sort();
  const found = new Map<string, Found>();
  for (const id of folders)
    if (objects.has(`${id}/manifest.json`)) {
      const backup = await look(options, id, objects, report);
      if (backup !== null) found.set(id, backup);
    }
  report.extra = extraOf(objects, found, report);
  const epochs = await epochsOf(options, found);
  const packs = await packsOf(options, found, report);
  const known = store.list('complete').filter((row) => row.destination === destination.name);
  report.gone = known.map(({ id }) => id).filter((id) => !found.has(id) && !report.damaged.includes(id));
  report.added = report.backups.filter((id) => known.every((row) => row.id !== id));
  store.transaction(() => {
    for (const epoch of epochs) store.addEpoch(epoch);
    for (const id of report.gone) store.setState(id, destination.name, 'removed');
    for (const [id, backup] of found) take(options, id, backup);
    // A folder without a manifest may hold media that others are made of: prune looks after it.
    for (const name of new Set(packs.map(({ row }) => folderOf(row.name)))) store.addFolder(name, destination.name, options.clock.now());
    for (const { row, media } of packs) if (media !== null) store.addPack(destination.name, folderOf(row.name), row, media);
  });
  return report;
}

async function look(
  { destination, signer, serverName }: ScanOptions,
  id: string,
  objects: ReadonlyMap<string, number>,
  report: ScanReport,
): Promise<Found | null> {
  let read: Pick<Found, 'manifest' | 'text'>;
  try {
    read = await readManifest(destination, id, signer);
  } catch (error) {
    if (!(error instanceof Failure) || (error.id !== 'backup.foreign' && error.id !== 'backup.damaged')) throw error;
    report[error.id === 'backup.foreign' ? 'foreign' : 'damaged'].push(id);
    return null;
  }
  const { manifest, text } = read;
  if (serverName !== null && manifest.server.name !== serverName) {
    report.foreign.push(id);
    return null;
  }
  const missing = objectsOf(manifest)
    .filter(({ name, stored }) => objects.get(name) !== stored.bytes)
    .map(({ name }) => name);
  report.backups.push(id);
  report.missing.push(...missing.filter((name) => !report.missing.includes(name)));
  const proof = await readProof(destination, id, signer, text).catch((error: unknown) => {
    if (!(error instanceof Failure) || (error.id !== 'backup.foreign' && error.id !== 'backup.damaged')) throw error;
    report.extra.push(`${id}/proof.json`);
    return null;
  });
  return { manifest, text, proof, missing };
}

/** What lies in folders of backups and belongs to none; in folders of others, and of damaged ones, nobody can tell. */
function extraOf(objects: ReadonlyMap<string, number>, found: ReadonlyMap<string, Found>, report: ScanReport): string[] {
  const named = new Set([...found.values()].flatMap(({ manifest }) => objectsOf(manifest).map(({ name }) => name)));
  const ofScripts = new Set([...objects.keys()].filter((name) => scriptsManifest.test(name)).map(folderOf));
  const extra = [...report.extra];
  for (const name of objects.keys()) {
    const folder = folderOf(name);
    if (!backupFolder.test(folder) || named.has(name) || report.foreign.includes(folder) || report.damaged.includes(folder)) continue;
    if (ofScripts.has(folder) && !objects.has(`${folder}/manifest.json`)) continue;
    if (found.has(folder) && beside.test(name.slice(folder.length + 1))) continue;
    extra.push(name);
  }
  return extra.sort();
}

/** Sealed keys that the catalogue has not: without them later backups could not be opened by themselves. */
async function epochsOf({ destination, store, clock, signal }: ScanOptions, found: ReadonlyMap<string, Found>): Promise<EpochRow[]> {
  const known = new Set(store.epochs().map(({ name }) => name));
  const epochs: EpochRow[] = [];
  for (const { manifest, missing } of found.values())
    for (const { name, recipient, object, stored } of manifest.epochs) {
      if (known.has(name) || missing.includes(object)) continue;
      known.add(name);
      const sealed = await wholeObject(destination, { name: object, stored }, signal);
      const createdAt = Date.parse(`${name.slice(0, 7)}-01T00:00:00Z`);
      epochs.push({
        name,
        createdAt: Number.isNaN(createdAt) ? clock.now() : createdAt,
        recipient,
        sealed,
        recipients: [],
        openedAt: null,
      });
    }
  return epochs;
}

/** Packs of the newest backup, which is made of all media that the destination had then. */
async function packsOf(
  { destination, store, openList }: ScanOptions,
  found: ReadonlyMap<string, Found>,
  report: ScanReport,
): Promise<{ row: PackRow; media: string[] | null }[]> {
  const [newest] = [...found.entries()].sort(([one], [other]) => (one < other ? 1 : -1)).map(([, backup]) => backup);
  if (newest === undefined) return [];
  const { manifest, missing } = newest;
  const known = new Set(store.packs(destination.name).map(({ name }) => name));
  const packs: { row: PackRow; media: string[] | null }[] = [];
  for (const pack of manifest.objects.filter(({ role }) => role === 'media')) {
    const list = manifest.objects.find(
      ({ role, name }) => role === 'media-index' && name === pack.name.replace(/\.tar\.age$/, '.files.age'),
    );
    if (list === undefined || known.has(pack.name) || missing.includes(pack.name) || missing.includes(list.name)) continue;
    const { name, epoch, source, stored } = pack;
    const media = await openList(manifest, list);
    if (media === null) report.sealed += 1;
    packs.push({
      row: { name, epoch, source, stored, index: { name: list.name, source: list.source, stored: list.stored }, files: media?.length ?? 0 },
      // What has thumbnails only is looked for again.
      media: media?.filter((path) => path.startsWith('local_content/')).map(mediaIdOf) ?? null,
    });
  }
  return packs;
}

/** In the caller's transaction. */
function take({ destination, store }: ScanOptions, id: string, { manifest, text, proof, missing }: Found): void {
  const at = destination.name;
  const row = store.get(id, at);
  const isKnown = row?.state === 'complete' && row.manifest === hashOfText(text);
  if (row?.state !== 'complete') store.beginCopy(id, at, Date.parse(manifest.startedAt));
  store.complete({
    ...{ id, destination: at, manifest: hashOfText(text), bytes: addedBytes(manifest) },
    epochs: manifest.epochs.map(({ name }) => name),
    ...{ finishedAt: Date.parse(manifest.finishedAt), databaseAt: Date.parse(manifest.databaseAt) },
  });
  const provenAt = Date.parse(proof?.at ?? manifest.finishedAt);
  if (proof !== null) store.setContent(id, at, proof.content.level, provenAt);
  if (missing.length > 0) store.setObject(id, at, null, provenAt);
  else if (!isKnown) store.setObject(id, at, 0, provenAt);
}
