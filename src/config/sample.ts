import { stringify } from 'yaml';
import { nameOf, outline, type ConfigKey } from './outline.ts';
import { isPlainObject } from './document.ts';

const heading = `# The configuration of Steward. Every key is here with its default or an example, commented out: remove the one \`#\` that
# stands right before a key. \`steward config check\` lists the mistakes, docs/config.md the environment variables.
`;

/** Every key with its description and its default or an example, commented out. */
export function renderSample(): string {
  const blocks = outline.children.map((key) =>
    renderKey(key, nameOf(key), key.fallback ?? key.example, 0, { mark: '#', told: new Set() }).join('\n'),
  );
  return `${heading}\n${blocks.join('\n\n')}\n`;
}

/** These values (keys as in the file), each key with its description once, so that a written file explains itself. */
export function renderValues(values: Record<string, unknown>): string {
  const style: Style = { mark: '', told: new Set() };
  const blocks = outline.children
    .filter((key) => nameOf(key) in values)
    .map((key) => renderKey(key, nameOf(key), values[nameOf(key)], 0, style).join('\n'));
  return `${blocks.join('\n\n')}\n`;
}

/** A value on one line, as YAML. */
export function inlineYaml(value: unknown): string {
  return stringify(value, { collectionStyle: 'flow', lineWidth: 0, flowCollectionPadding: true }).trim();
}

interface Style {
  /** Before each key: `#` comments it out. */
  mark: '' | '#';
  /** Keys whose description stands above already. */
  told: Set<ConfigKey>;
}

function renderKey(key: ConfigKey, name: string, value: unknown, depth: number, style: Style): string[] {
  const { mark, told } = style;
  const indent = '  '.repeat(depth);
  const isTold = key.description === '' || told.has(key);
  told.add(key);
  const comment = isTold ? [] : wrap(key.description, 118 - indent.length).map((line) => `${indent}# ${line}`);
  if (key.kind === 'value') return [...comment, `${indent}${mark}${inlineYaml(name)}: ${inlineYaml(value)}`];
  const given = isPlainObject(value) ? value : {};
  return [
    ...comment,
    `${indent}${mark}${inlineYaml(name)}:`,
    ...childrenToShow(key, given, mark).flatMap(([child, childName, entry]) => renderKey(child, childName, entry, depth + 1, style)),
  ];
}

function childrenToShow(key: ConfigKey, given: Record<string, unknown>, mark: '' | '#'): [ConfigKey, string, unknown][] {
  const [entry] = key.children;
  if (key.kind === 'map') {
    const source = mark === '#' && Object.keys(given).length === 0 && isPlainObject(key.example) ? key.example : given;
    return entry === undefined ? [] : Object.entries(source).map(([name, value]) => [entry, name, value]);
  }
  return key.children
    .filter((child) => mark === '#' || nameOf(child) in given)
    .map((child) => [child, nameOf(child), given[nameOf(child)] ?? child.fallback ?? child.example]);
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
