/** A name as SQL takes it. */
export const quotedName = (name: string): string => `"${name.replaceAll('"', '""')}"`;
