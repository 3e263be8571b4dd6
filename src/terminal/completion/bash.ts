import type { Place } from './tree.ts';

/** The completion script for bash. */
export function bashCompletion(places: readonly Place[]): string {
  return `# Completion of steward for bash: source <(steward completion bash)

_steward_next() {
  case "$1" in
${places
  .filter(({ next }) => next.length > 0)
  .map(({ path, next }) => `    '${path}') echo '${next.map(({ word }) => word).join(' ')}' ;;`)
  .join('\n')}
  esac
}

_steward_options() {
  case "$1" in
${places
  .filter(({ options }) => options.length > 0)
  .map(
    ({ path, options }) =>
      `    '${path}') echo '${options.flatMap(({ flags }) => flags.filter((flag) => flag.startsWith('--'))).join(' ')}' ;;`,
  )
  .join('\n')}
  esac
}

# What the value of an option is: its choices, @file or @value; nothing where it takes none.
_steward_value() {
  case "$1 $2" in
${places.flatMap(({ path, options }) => options.filter(({ takes }) => takes !== 'nothing').map(({ flags, takes }) => `    ${flags.map((flag) => `'${path} ${flag}'`).join('|')}) echo '${typeof takes === 'string' ? `@${takes}` : takes.join(' ')}' ;;`)).join('\n')}
  esac
}

_steward() {
  local cur=\${COMP_WORDS[COMP_CWORD]} path= word value='' at
  COMPREPLY=()
  for (( at = 1; at < COMP_CWORD; at++ )); do
    word=\${COMP_WORDS[at]}
    if [[ $word == = ]]; then continue; fi
    if [[ -n $value ]]; then value=; continue; fi
    if [[ $word == -* ]]; then value=$(_steward_value "$path" "$word"); continue; fi
    if [[ " $(_steward_next "$path") " == *" $word "* ]]; then path="\${path:+$path }$word"; fi
  done
  # Bash splits --option=value at the equals sign.
  if [[ $cur == = ]]; then cur=; fi
  case $value in
    @file)
      compopt -o filenames 2> /dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    @value) ;;
    ?*) mapfile -t COMPREPLY < <(compgen -W "$value" -- "$cur") ;;
    *)
      if [[ $cur == -* ]]; then mapfile -t COMPREPLY < <(compgen -W "$(_steward_options "$path")" -- "$cur")
      else mapfile -t COMPREPLY < <(compgen -W "$(_steward_next "$path")" -- "$cur"); fi ;;
  esac
}

complete -F _steward steward
`;
}
