import { Failure } from '../failures/failure.ts';
import type { BackupContent, ContentSummary, MediaPack } from './content.ts';
import type { Destination } from './destinations/destination.ts';
import type { Manifest, ManifestObject, Proof } from './manifest.ts';
import { masLeftOut } from './mas.ts';
import type { KeyOf } from './opener.ts';
import { indexLines } from './media-index.ts';
import { openedWhole } from './verify.ts';

const roles = { keys: 'signing-key', config: 'config', secrets: 'secrets' } as const;

export function summaryOf({ id, server, databaseAt }: Manifest): ContentSummary & { serverName: string } {
  return { id, serverName: server.name, databaseAt: Date.parse(databaseAt), database: server.database };
}

/** A backup of Steward's own. */
export function stewardContent(manifest: Manifest, proof: Proof | null, destination: Destination, keyOf: KeyOf): BackupContent {
  const opened = (object: ManifestObject, signal: AbortSignal): AsyncIterable<Uint8Array> =>
    openedWhole(destination, object, keyOf, signal);
  const ofRole = (role: ManifestObject['role']): ManifestObject[] => manifest.objects.filter((object) => object.role === role);
  const packs = ofRole('media-index').map((index): MediaPack => {
    const pack = ofRole('media').find(({ name }) => name === index.name.replace(/\.files\.age$/, '.tar.age'));
    if (pack === undefined)
      throw new Failure('backup.damaged', { attempted: `restore ${manifest.id}`, reason: `${index.name} has no pack` });
    return { name: pack.name, files: (signal) => indexLines(opened(index, signal)), tar: (signal) => opened(pack, signal) };
  });
  return {
    summary: summaryOf(manifest),
    proven: proof !== null && proof.content.level >= 3 ? proof.content : null,
    database: (signal) => {
      const [object] = ofRole('database');
      if (object === undefined)
        throw new Failure('backup.damaged', { attempted: `restore ${manifest.id}`, reason: 'it names no database' });
      return opened(object, signal);
    },
    files: (part, signal) => ofRole(roles[part]).map((object) => opened(object, signal)),
    packs,
    remarks: (parts) => [
      ...(parts.includes('media') && manifest.media.elsewhere.length > 0
        ? [`media that only ${manifest.media.elsewhere.join(', ')} had (media_storage_providers) are not in the backup`]
        : []),
      ...(parts.includes('database') && ofRole('mas-database').length > 0
        ? [`the database of Matrix Authentication Service stays as it is; ${manifest.id}/RESTORE.txt says how its own is loaded`]
        : []),
      ...(parts.includes('database') && manifest.excluded.includes(masLeftOut)
        ? [`${masLeftOut}, is not in the backup, and stays as it is`]
        : []),
    ],
  };
}
