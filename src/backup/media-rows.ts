/** Which rows of `local_media_repository` are media that a backup holds: no URL previews, nothing without content yet. */
export const heldRows = 'url_cache IS NULL AND media_length IS NOT NULL';

/** The first version of Synapse's schema that holds hashes of media. */
const hashesSince = 91;

/** The column of a medium's SHA-256, hex, or NULL by that name where the schema has none. */
export const hashColumn = (schemaVersion: number): string => (schemaVersion >= hashesSince ? 'sha256' : 'NULL AS sha256');
