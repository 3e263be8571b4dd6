/** Imports run one way: main → app → {matrix, terminal} → commands → workflow and the domain folders → store, config, telemetry. */
const layer = (name, from, ...forbidden) => ({ name, severity: 'error', from: { path: from }, to: { path: forbidden } });

const front = '^src/(matrix|terminal)/';
const commands = '^src/commands/';
const middle = '^src/(workflow|audit|homeserver|stack|backup|secrets|sso|rebuild|alerts|doctor|room)/';
const root = '^src/(main|app|core)[.]ts$';

module.exports = {
  forbidden: [
    layer('no-way-back-to-the-root', '^src/(?!main[.]ts|app[.]ts|core[.]ts)', root),
    layer('commands-know-no-front', commands, front, '^src/init/'),
    layer('domains-know-no-commands', middle, front, commands, '^src/init/'),
    layer('foundations-stand-alone', '^src/(store|config|telemetry|failures|reply)/', front, commands, middle, '^src/init/'),
    layer('fronts-stand-apart', '^src/matrix/', '^src/terminal/'),
    layer('terminal-knows-no-matrix', '^src/terminal/', '^src/matrix/'),
    layer('product-knows-no-tools', '^src/', '^(kit|demo|test|bench|scripts)/'),
    { name: 'sdk-stays-in-matrix', severity: 'error', from: { path: '^src/(?!matrix/)' }, to: { path: 'matrix-bot-sdk' } },
    { name: 'no-circles', severity: 'error', from: {}, to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } } },
    { name: 'no-orphans', severity: 'error', from: { orphan: true, path: '^src/' }, to: {} },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
      extensions: ['.ts', '.js', '.cjs', '.mjs'],
    },
  },
};
