// The import table of docs/design/README.md as a program: data flows one way, and so do imports.
const allowed = {
  base: [],
  model: ['base'],
  protocol: [],
  metrics: [],
  kernel: [],
  rules: ['protocol'],
  tables: ['kernel', 'ipsets'],
  ipsets: ['kernel'],
  routes: ['kernel'],
  interfaces: ['kernel'],
  managers: ['protocol', 'rules', 'tables', 'ipsets', 'routes', 'interfaces'],
  driver: ['protocol', 'managers', 'tables', 'ipsets', 'routes', 'interfaces', 'metrics', 'kernel', 'rules'],
  transport: ['protocol'],
  mock: ['protocol'],
  cli: ['protocol', 'managers', 'rules', 'tables', 'ipsets', 'routes', 'interfaces', 'metrics', 'kernel', 'driver', 'transport', 'mock'],
};

const rooms = Object.keys(allowed);
module.exports = {
  forbidden: [
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    ...rooms.map((room) => ({
      name: `${room}-imports`,
      severity: 'error',
      comment: `src/${room} may import: ${['base', 'model', ...allowed[room]].join(', ')}`,
      from: { path: `^src/${room}/` },
      to: {
        path: '^src/',
        pathNot: [room, ...(room === 'base' ? [] : ['base']), ...(room === 'base' || room === 'model' ? [] : ['model']), ...allowed[room]].map((r) => `^src/${r}/`),
      },
    })),
    { name: 'broker-imports', severity: 'error', from: { path: '^src/broker\\.ts$' }, to: { path: '^src/', pathNot: '^src/kernel/' } },
    { name: 'main-imports', severity: 'error', from: { path: '^src/main\\.ts$' }, to: { path: '^src/', pathNot: '^src/cli/' } },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
  },
};
