import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { allCommands } from '../../src/commands/all.ts';
import { ownOptions, sharedOptions } from '../../src/commands/grammar/options.ts';
import { completionFor, type Shell } from '../../src/terminal/completion/completion.ts';
import { completionTree } from '../../src/terminal/completion/tree.ts';
import { folder } from '../terminal/support.ts';

const registry = allCommands();

/** What is typed, what must be offered, and what must not. */
const cases: readonly [line: string, offered: readonly string[], not: readonly string[]][] = [
  ['steward ', ['user', 'server', 'help', 'undo', 'run', 'init', 'config', 'completion'], ['list', '--json']],
  ['steward us', ['user'], ['server']],
  ['steward user ', ['list', 'info', 'create', 'update-password'], ['user', 'status']],
  ['steward --config /etc/hosts user cr', ['create'], ['list']],
  ['steward --config user ', ['server'], ['list']],
  ['steward user list --or', ['--order-by'], ['--admins']],
  ['steward user list --order-by ', ['name', 'created', 'last-seen'], ['--json', 'list']],
  ['steward user list --order-by=la', ['last-seen'], ['created']],
  ['steward user list --order-by=', ['name', 'created', 'last-seen'], ['list']],
  ['steward user create --email a@b.c --di', ['--display-name'], ['--email']],
  ['steward user create bob --password-', ['--password-file', '--password-stdin'], ['--email']],
  ['steward user create --password-file /etc/hostn', ['hostname'], ['list']],
  ['steward help server ', ['status', 'version'], ['list']],
  ['steward completion ', ['bash', 'zsh', 'fish'], ['user']],
  ['steward config ', ['check', 'show', 'sample'], ['user']],
];

const inBash = (script: string, line: string): string => {
  // Bash hands over words that it has split at the equals sign too.
  const words = line
    .split(' ')
    .flatMap((word) => word.split(/(=)/))
    .filter((word, at, all) => word !== '' || (at === all.length - 1 && all[at - 1] !== '='));
  return run('bash', [
    '--norc',
    '-c',
    `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _steward; printf '%s\\n' "\${COMPREPLY[@]}"`,
    'bash',
    script,
    ...words,
  ]);
};

const inFish = (script: string, line: string): string =>
  run('fish', ['--no-config', '-c', 'source $argv[1]; complete -C $argv[2]', script, line]).replaceAll(/\t.*/g, '');

/** Zsh completes only at a prompt, so it gets one on a terminal of its own; what is offered goes to a file. */
const inZsh = (script: string, line: string): string => {
  const offered = `${script}.offered`;
  const rc = `
    PS1=; autoload -Uz compinit; compinit -u -D; source ${script}
    compadd() {
      if [[ \${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]]; then builtin compadd "$@"; return; fi
      local -a matches
      builtin compadd -O matches "$@"
      print -rl -- $matches >> ${offered}
      builtin compadd "$@"
    }
    # Keys that are typed before the line editor listens would be the terminal's own.
    zle-line-init() { print > ${script}.ready }; zle -N zle-line-init`;
  writeFileSync(`${script}.rc`, rc);
  // The line editor takes keys one by one: the last command runs when the completion is over.
  const program = `
    zmodload zsh/zpty
    zpty -b shell zsh -f -i
    zpty -w shell "source $1.rc"
    await() { for i in {1..500}; do zpty -r -t shell > /dev/null; [[ -e $1 ]] && return; sleep 0.01; done }
    await $1.ready
    zpty -w -n shell "$2"$'\\t\\C-u'
    zpty -w shell "print > $1.done"
    await $1.done
    zpty -d shell
    cat $1.offered`;
  return run('zsh', ['-f', '-c', program, 'zsh', script, line]);
};

function run(command: string, args: readonly string[]): string {
  const { stdout, stderr, status } = spawnSync(command, args, {
    encoding: 'utf8',
    timeout: 20_000,
    env: { ...process.env, TERM: 'dumb', COLUMNS: '200' },
  });
  if (status !== 0) throw new Error(`${command} ended with ${String(status)}: ${stderr}`);
  return stdout;
}

/** Some shells offer the whole word, some what is after the stem. */
const withoutStem = (word: string): string =>
  word
    .trim()
    .replace(/^--order-by=/, '')
    .replace(/^\/etc\//, '');

const offersOf: Record<Shell, (script: string, line: string) => string> = { bash: inBash, zsh: inZsh, fish: inFish };

for (const shell of ['bash', 'zsh', 'fish'] as const) {
  describe(`completion in ${shell}`, () => {
    test.each(cases)('offers for `%s`', (line, offered, not) => {
      const script = join(folder(), `completion.${shell}`);
      writeFileSync(script, completionFor(shell, registry));
      const words = offersOf[shell](script, line).split('\n').map(withoutStem);
      expect(words).toEqual(expect.arrayContaining([...offered]));
      for (const word of not) expect(words).not.toContain(word);
    });
  });
}

test('completion knows every command and every option', () => {
  const tree = completionTree(registry);
  for (const command of registry.commands) {
    const place = tree.find(({ path }) => path === command.name);
    const flags = place?.options.flatMap((offer) => offer.flags) ?? [];
    for (const option of [...ownOptions(command), ...sharedOptions(command)])
      if (option.type !== 'strings') expect(flags).toContain(`--${option.flag}`);
    const words = command.name.split(' ');
    for (const [at, word] of words.entries())
      expect(tree.find(({ path }) => path === words.slice(0, at).join(' '))?.next.map((next) => next.word)).toContain(word);
  }
});
