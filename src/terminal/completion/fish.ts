import type { Offer, Place } from './tree.ts';

/** The completion script for fish. */
export function fishCompletion(places: readonly Place[]): string {
  const valued = places.flatMap(({ path, options }) =>
    options.filter(({ takes }) => takes !== 'nothing').flatMap(({ flags }) => flags.map((flag) => quoted(`${path} ${flag}`))),
  );
  return `# Completion of steward for fish: steward completion fish | source

set -g __steward_places ${places
    .filter(({ path }) => path !== '')
    .map(({ path }) => quoted(path))
    .join(' ')}
set -g __steward_valued ${valued.join(' ')}

# The command words before the cursor.
function __steward_path
  set -l path ''
  set -l skip 0
  for word in (commandline -opc)[2..]
    if test $skip = 1
      set skip 0
    else if string match -q -- '-*' $word
      contains -- "$path $word" $__steward_valued; and set skip 1
    else
      set -l longer (string trim -- "$path $word")
      contains -- $longer $__steward_places; and set path $longer
    end
  end
  echo $path
end

function __steward_at
  test (__steward_path) = "$argv[1]"
end

complete -c steward -f
${places.flatMap(({ path, next, options }) => [...next.map(({ word, description }) => `${at(path)} -a ${quoted(word)}${about(description)}`), ...options.map((offer) => optionLine(path, offer))]).join('\n')}
`;
}

function at(path: string): string {
  return `complete -c steward -n ${quoted(`__steward_at ${path === '' ? "''" : `"${path}"`}`)}`;
}

function optionLine(path: string, { flags, takes, description }: Offer): string {
  const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`)).join(' ');
  const value = takes === 'nothing' ? '' : takes === 'file' ? ' -r -F' : takes === 'value' ? ' -x' : ` -x -a ${quoted(takes.join(' '))}`;
  return `${at(path)} ${names}${value}${about(description)}`;
}

function about(description: string): string {
  return description === '' ? '' : ` -d ${quoted(description)}`;
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
