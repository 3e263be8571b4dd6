import tseslint from 'typescript-eslint';

/** Time and chance come in as parameters: the language's own are forbidden outside src/clock.ts. */
const clockOnly = [
  { object: 'Date', property: 'now', message: 'Take the time from a Clock.' },
  { object: 'performance', property: 'now', message: 'Take durations from a Clock.' },
  { object: 'Math', property: 'random', message: 'Take chance from Ids.' },
  { object: 'crypto', property: 'randomUUID', message: 'Take ids from Ids.' },
];
const clockGlobals = ['setTimeout', 'setInterval'].map((name) => ({ name, message: 'Wait with a Clock.' }));

export default tseslint.config(
  { ignores: ['node_modules/', 'dist/', 'packages/', 'coverage/'] },
  ...tseslint.configs.strictTypeChecked.map((config) => ({ ...config, files: ['**/*.ts'] })),
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports', disallowTypeAnnotations: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true, ignoreVoidOperator: true }],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-console': 'error',
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['src/clock.ts'],
    rules: {
      'no-restricted-properties': ['error', ...clockOnly],
      'no-restricted-globals': ['error', ...clockGlobals],
      'no-restricted-syntax': [
        'error',
        { selector: "NewExpression[callee.name='Date'][arguments.length=0]", message: 'Take the time from a Clock.' },
      ],
    },
  },
  {
    files: ['test/**/*.ts', 'kit/**/*.ts', 'demo/**/*.ts', 'bench/**/*.ts', 'scripts/**/*.ts'],
    rules: {
      'no-console': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
    },
  },
);
