import { readFile } from 'node:fs/promises';

/** A fenced block of a document. */
export interface Block {
  /** The heading that it stands below, without the hashes. */
  heading: string;
  /** `sh`, `yaml`; empty when none is given. */
  language: string;
  text: string;
}

/** The fenced blocks of a Markdown file, in order. */
export async function blocksOf(path: string): Promise<Block[]> {
  const blocks: Block[] = [];
  let heading = '';
  let open: Block | null = null;
  for (const line of (await readFile(path, 'utf8')).split('\n')) {
    if (open !== null) {
      if (line === '```') open = null;
      else open.text += `${line}\n`;
    } else if (line.startsWith('```')) {
      open = { heading, language: line.slice(3).trim(), text: '' };
      blocks.push(open);
    } else heading = /^#+ (.*)$/.exec(line)?.[1] ?? heading;
  }
  return blocks;
}
