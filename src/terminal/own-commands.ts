/** What the `steward` binary does beside the commands of the set. */
export interface OwnCommand {
  name: string;
  summary: string;
  /** As it is typed, after the name. */
  usage: string;
  verbs: readonly string[];
}

export const shells = ['bash', 'zsh', 'fish'] as const;

export const ownCommands: readonly OwnCommand[] = [
  { name: 'init', summary: 'Connect a homeserver: account, room, persons and configuration file.', usage: '[--help]', verbs: [] },
  { name: 'run', summary: 'Run the daemon.', usage: '[--config FILE] [--take-over]', verbs: [] },
  { name: 'doctor', summary: 'Look at everything that Steward stands on: `server doctor`.', usage: '[--send-test]', verbs: [] },
  {
    name: 'config',
    summary: 'Check the configuration, show what is in force, or print a sample.',
    usage: 'check|show|sample [--config FILE]',
    verbs: ['check', 'show', 'sample'],
  },
  {
    name: 'crypto',
    summary: "Show or verify Steward's device and identity, or make a new device.",
    usage: 'status|verify|reset [--config FILE]',
    verbs: ['status', 'verify', 'reset'],
  },
  {
    name: 'completion',
    summary: 'Print the completion for a shell: source <(steward completion bash).',
    usage: shells.join('|'),
    verbs: shells,
  },
];
