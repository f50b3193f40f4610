// Type-aware lint: a floating promise in a daemon is a lost error, so those rules are the reason this file exists.
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['dist/**', 'node_modules/**', 'src/protocol/gen/**', 'test/fixtures/**', 'eslint.config.js', '.dependency-cruiser.cjs', '**/*.mjs', '**/*.cjs'] },
  ...tseslint.configs.recommended,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      eqeqeq: 'error',
      'no-restricted-exports': ['error', { restrictDefaultExports: { direct: true, named: true } }],
    },
  },
  {
    // Everything outside these rooms is deterministic: no processes, files, sockets or wall clock.
    files: ['src/{driver,managers,rules,tables,ipsets,routes,interfaces,metrics,model,base,protocol,mock}/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        { paths: ['node:child_process', 'node:fs', 'node:fs/promises', 'node:net', 'node:timers', 'node:timers/promises', 'node:http', 'node:tls'] },
      ],
      'no-restricted-globals': ['error', 'setTimeout', 'setInterval', 'setImmediate'],
      'no-restricted-properties': ['error', { object: 'Date', property: 'now' }, { object: 'Math', property: 'random' }],
    },
  },
  { files: ['**/vitest.config.ts'], rules: { 'no-restricted-exports': 'off' } },
);
