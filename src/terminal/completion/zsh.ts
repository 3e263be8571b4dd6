import type { Place } from './tree.ts';

/** The completion script for zsh. */
export function zshCompletion(places: readonly Place[]): string {
  return `#compdef steward
# Completion of steward for zsh: source <(steward completion zsh), or a file _steward in a folder of $fpath

_steward_next() {
  case "$1" in
${places
  .filter(({ next }) => next.length > 0)
  .map(({ path, next }) => `    ${quoted(path)}) reply=(${next.map(({ word, description }) => described(word, description)).join(' ')}) ;;`)
  .join('\n')}
    *) reply=() ;;
  esac
}

_steward_options() {
  case "$1" in
${places
  .filter(({ options }) => options.length > 0)
  .map(
    ({ path, options }) =>
      `    ${quoted(path)}) reply=(${options.flatMap(({ flags, description }) => flags.map((flag) => described(flag, description))).join(' ')}) ;;`,
  )
  .join('\n')}
    *) reply=() ;;
  esac
}

# What the value of an option is: its choices, @file or @value; nothing where it takes none.
_steward_value() {
  case "$1 $2" in
${places.flatMap(({ path, options }) => options.filter(({ takes }) => takes !== 'nothing').map(({ flags, takes }) => `    ${flags.map((flag) => quoted(`${path} ${flag}`)).join('|')}) reply=(${typeof takes === 'string' ? `@${takes}` : takes.map(quoted).join(' ')}) ;;`)).join('\n')}
    *) reply=() ;;
  esac
}

_steward() {
  local where= word at
  local -a value reply names
  for (( at = 2; at < CURRENT; at++ )); do
    word=$words[at]
    if (( $#value )); then value=(); continue; fi
    if [[ $word == -*=* ]]; then continue; fi
    if [[ $word == -* ]]; then _steward_value "$where" "$word"; value=($reply); continue; fi
    _steward_next "$where"
    names=(\${reply%%:*})
    if (( $names[(Ie)$word] )); then where="\${where:+$where }$word"; fi
  done
  if (( ! $#value )) && [[ $PREFIX == -*=* ]]; then
    _steward_value "$where" "\${PREFIX%%=*}"
    value=($reply)
    compset -P '*='
  fi
  case $value[1] in
    @file) _files ;;
    @value) _message value ;;
    ?*) compadd -a value ;;
    *)
      if [[ $PREFIX == -* ]]; then _steward_options "$where"; _describe option reply
      else _steward_next "$where"; _describe command reply; fi ;;
  esac
}

if [[ $funcstack[1] == _steward ]]; then _steward "$@"; else compdef _steward steward; fi
`;
}

function described(word: string, description: string): string {
  return quoted(`${word.replaceAll(':', '\\:')}${description === '' ? '' : `:${description}`}`);
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
