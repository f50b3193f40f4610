// A routing kernel in memory, with the kernel's own refusals: what is not there cannot be deleted, a link that is down
// takes no routes, a link that goes takes everything on it along.
import type { Family } from '../../src/model/family.js';
import type {
  KernelAddress,
  KernelFailure,
  KernelFdbEntry,
  KernelLink,
  KernelNeighbour,
  KernelOperation,
  KernelRoute,
  KernelRule,
  KernelTbf,
  KernelTrafficControl,
  RouteKernel,
} from '../../src/routes/route-kernel.js';

interface Shaping {
  tbf: KernelTbf | null;
  hasIngress: boolean;
  redirects: string[];
}

const missing: KernelFailure = { reason: 'missing', message: 'No such process' };
const exists: KernelFailure = { reason: 'exists', message: 'File exists' };

function interfaceMissing(name: string): KernelFailure {
  return { reason: 'interface-missing', message: `Cannot find device "${name}"` };
}

function routeId(route: KernelRoute): string {
  return `${route.dst} ${route.tos} ${route.priority}`;
}

/** A link with the usual values. */
export function fakeLink(name: string, ifindex: number, over: Partial<KernelLink> = {}): KernelLink {
  return {
    ifindex,
    name,
    kind: 'veth',
    isUp: true,
    isRunning: true,
    mtu: 1500,
    mac: '02:00:00:00:00:01',
    vxlan: null,
    ...over,
  };
}

/** A route with the usual values. */
export function fakeRoute(dst: string, over: Partial<KernelRoute> = {}): KernelRoute {
  return {
    dst,
    tos: 0,
    priority: dst.includes(':') ? 1024 : 0,
    type: 'unicast',
    scope: 0,
    protocol: 3,
    gateway: null,
    src: null,
    onlink: false,
    mtu: 0,
    interfaceName: null,
    nextHops: [],
    ...over,
  };
}

/** See the file's head. `log` has every write as one short text; `fail` makes single writes fail. */
export class FakeRouteKernel implements RouteKernel {
  readonly links = new Map<string, KernelLink>();
  readonly addresses: KernelAddress[] = [];
  readonly rules: KernelRule[] = [];
  readonly neighbours = new Map<string, KernelNeighbour>();
  readonly fdb = new Map<string, KernelFdbEntry>();
  readonly log: string[] = [];
  readonly lists: string[] = [];
  /** Called for every write; a failure it returns is given instead of carrying the write out. */
  fail: (operation: KernelOperation) => KernelFailure | null = () => null;
  /** Thrown by the next list. */
  listError: Error | null = null;
  readonly #routes = new Map<string, Map<string, KernelRoute>>();
  readonly #shaping = new Map<string, Shaping>();
  #nextIndex = 100;

  addLink(link: KernelLink): void {
    this.links.set(link.name, link);
    this.#nextIndex = Math.max(this.#nextIndex, link.ifindex + 1);
  }

  /** Takes the link down: its routes go, its permanent neighbours too. */
  setDown(name: string): void {
    const link = this.links.get(name);
    if (link !== undefined) this.links.set(name, { ...link, isUp: false, isRunning: false });
    this.#dropRoutesOf(name);
    for (const [id, entry] of this.neighbours) if (entry.interfaceName === name) this.neighbours.delete(id);
  }

  setUp(name: string): void {
    const link = this.links.get(name);
    if (link !== undefined) this.links.set(name, { ...link, isUp: true, isRunning: true });
  }

  deleteLink(name: string): void {
    this.setDown(name);
    this.links.delete(name);
    this.#shaping.delete(name);
    for (const [id, entry] of this.fdb) if (entry.interfaceName === name) this.fdb.delete(id);
    this.addresses.splice(0, this.addresses.length, ...this.addresses.filter((a) => a.interfaceName !== name));
  }

  /** Puts a route in without a write being logged, as another program would. */
  putRoute(family: Family, table: number, route: KernelRoute): void {
    this.#table(family, table).set(routeId(route), route);
  }

  routes(family: Family, table = 254): KernelRoute[] {
    return [...this.#table(family, table).values()].sort((a, b) => (routeId(a) < routeId(b) ? -1 : 1));
  }

  /** `10.65.0.2/32 dev cali1 metric 1024` of every route, sorted. */
  routeTexts(family: Family, table = 254): string[] {
    return this.routes(family, table).map((route) => {
      const type = route.type === 'unicast' ? '' : `${route.type} `;
      const via = route.gateway === null ? '' : ` via ${route.gateway}`;
      const dev = route.interfaceName === null ? '' : ` dev ${route.interfaceName}`;
      const metric = route.priority === 0 ? '' : ` metric ${route.priority}`;
      return `${type}${route.dst}${via}${dev}${metric}`;
    });
  }

  shaping(name: string): Readonly<Shaping> {
    return this.#shaping.get(name) ?? { tbf: null, hasIngress: false, redirects: [] };
  }

  listLinks(): Promise<readonly KernelLink[]> {
    return this.#list('links', [...this.links.values()]);
  }

  listAddresses(): Promise<readonly KernelAddress[]> {
    return this.#list('addresses', [...this.addresses]);
  }

  listRoutes(family: Family, table: number, names?: readonly string[]): Promise<readonly KernelRoute[]> {
    const routes = this.routes(family, table).filter(
      (route) => names === undefined || (route.interfaceName !== null && names.includes(route.interfaceName)),
    );
    return this.#list(`routes${family} ${names?.join(',') ?? 'all'}`, routes);
  }

  listRules(family: Family): Promise<readonly KernelRule[]> {
    return this.#list(
      'rules',
      this.rules.filter((rule) => rule.family === family),
    );
  }

  listNeighbours(family: Family, names?: readonly string[]): Promise<readonly KernelNeighbour[]> {
    const entries = [...this.neighbours.values()].filter(
      (entry) => entry.family === family && (names === undefined || names.includes(entry.interfaceName)),
    );
    return this.#list('neighbours', entries);
  }

  listFdb(interfaceName: string): Promise<readonly KernelFdbEntry[]> {
    return this.#list(
      'fdb',
      [...this.fdb.values()].filter((entry) => entry.interfaceName === interfaceName),
    );
  }

  listTrafficControl(names: readonly string[]): Promise<readonly KernelTrafficControl[]> {
    const found = names
      .filter((name) => this.links.has(name))
      .map((interfaceName) => ({ interfaceName, ...this.shaping(interfaceName) }));
    return this.#list('tc', found);
  }

  async apply(operations: readonly KernelOperation[]): Promise<readonly (KernelFailure | null)[]> {
    await Promise.resolve();
    return operations.map((operation) => {
      const failure = this.fail(operation) ?? this.#carryOut(operation);
      if (failure === null) this.log.push(describe(operation));
      return failure;
    });
  }

  async #list<T>(what: string, value: T): Promise<T> {
    await Promise.resolve();
    this.lists.push(what);
    const error = this.listError;
    this.listError = null;
    if (error !== null) throw error;
    return value;
  }

  #table(family: Family, table: number): Map<string, KernelRoute> {
    const id = `${family} ${table}`;
    const routes = this.#routes.get(id) ?? new Map<string, KernelRoute>();
    this.#routes.set(id, routes);
    return routes;
  }

  #dropRoutesOf(name: string): void {
    for (const routes of this.#routes.values()) {
      for (const [id, route] of routes) if (route.interfaceName === name) routes.delete(id);
    }
  }

  #needs(name: string | null, mustBeUp: boolean): KernelFailure | null {
    if (name === null) return null;
    const link = this.links.get(name);
    if (link === undefined) return interfaceMissing(name);
    return mustBeUp && !link.isUp ? { reason: 'interface-down', message: 'Network is down' } : null;
  }

  #carryOut(operation: KernelOperation): KernelFailure | null {
    switch (operation.op) {
      case 'replace-route': {
        const failure = this.#needs(operation.route.interfaceName, true);
        if (failure === null) this.putRoute(operation.family, operation.table, operation.route);
        return failure;
      }
      case 'delete-route':
        return this.#deleteRoute(operation.family, operation.table, operation.route);
      case 'replace-neighbour':
      case 'delete-neighbour':
        return this.#changeNeighbour(operation.op, operation.neighbour);
      case 'replace-fdb':
      case 'delete-fdb':
        return this.#changeFdb(operation.op, operation.entry);
      case 'add-rule':
      case 'delete-rule':
        return this.#changeRule(operation.op, operation.rule);
      case 'add-address':
      case 'delete-address':
        return this.#changeAddress(operation.op, operation.address);
      default:
        return this.#changeLink(operation) ?? this.#changeShaping(operation);
    }
  }

  #deleteRoute(family: Family, table: number, route: KernelRoute): KernelFailure | null {
    const known = this.#table(family, table).get(routeId(route));
    if (known === undefined || known.interfaceName !== route.interfaceName || known.protocol !== route.protocol) {
      return this.#needs(route.interfaceName, false) ?? missing;
    }
    this.#table(family, table).delete(routeId(route));
    return null;
  }

  #changeNeighbour(op: string, entry: KernelNeighbour): KernelFailure | null {
    const id = `${entry.interfaceName} ${entry.address}`;
    const failure = this.#needs(entry.interfaceName, false);
    if (failure !== null) return failure;
    if (op === 'replace-neighbour') this.neighbours.set(id, entry);
    else if (!this.neighbours.delete(id)) return missing;
    return null;
  }

  #changeFdb(op: string, entry: KernelFdbEntry): KernelFailure | null {
    const id = `${entry.interfaceName} ${entry.mac}`;
    const failure = this.#needs(entry.interfaceName, false);
    if (failure !== null) return failure;
    if (op === 'replace-fdb') this.fdb.set(id, entry);
    else if (!this.fdb.delete(id)) return missing;
    return null;
  }

  #changeRule(op: string, rule: KernelRule): KernelFailure | null {
    const index = this.rules.findIndex((other) => JSON.stringify(other) === JSON.stringify(rule));
    if (op === 'add-rule') {
      if (index >= 0) return exists;
      this.rules.push(rule);
      return null;
    }
    if (index < 0) return missing;
    this.rules.splice(index, 1);
    return null;
  }

  #changeAddress(op: string, address: KernelAddress): KernelFailure | null {
    const failure = this.#needs(address.interfaceName, false);
    if (failure !== null) return failure;
    const index = this.addresses.findIndex(
      (other) => other.interfaceName === address.interfaceName && other.address === address.address,
    );
    if (op === 'add-address') {
      if (index >= 0) return exists;
      this.addresses.push(address);
      return null;
    }
    if (index < 0) return missing;
    this.addresses.splice(index, 1);
    return null;
  }

  #changeLink(operation: KernelOperation): KernelFailure | null {
    if (operation.op === 'add-link') {
      const { link } = operation;
      if (this.links.has(link.name)) return exists;
      if (link.kind === 'ipip') return { reason: 'unsupported', message: 'Unknown device type' };
      const vxlan =
        link.kind === 'vxlan'
          ? { vni: link.vni, port: link.port, local: link.local, parent: link.parent, group: null, learning: false }
          : null;
      const mac = link.kind === 'vxlan' ? link.mac : '02:00:00:00:99:99';
      this.addLink(
        fakeLink(link.name, this.#nextIndex, {
          kind: link.kind,
          mtu: link.mtu,
          isUp: false,
          isRunning: false,
          vxlan,
          mac,
        }),
      );
      return null;
    }
    if (!('name' in operation)) return null;
    const link = this.links.get(operation.name);
    if (link === undefined) return interfaceMissing(operation.name);
    if (operation.op === 'delete-link') this.deleteLink(operation.name);
    else if (operation.op === 'set-link-up') this.setUp(operation.name);
    else if (operation.op === 'set-link-mtu') this.links.set(link.name, { ...link, mtu: operation.mtu });
    else this.links.set(link.name, { ...link, mac: operation.mac });
    return null;
  }

  #changeShaping(operation: KernelOperation): KernelFailure | null {
    if (!('interfaceName' in operation)) return null;
    const failure = this.#needs(operation.interfaceName, false);
    if (failure !== null) return failure;
    const shaping = { ...this.shaping(operation.interfaceName) };
    this.#shaping.set(operation.interfaceName, shaping);
    if (operation.op === 'replace-tbf') shaping.tbf = operation.tbf;
    else if (operation.op === 'delete-tbf') {
      if (shaping.tbf === null) return missing;
      shaping.tbf = null;
    } else if (operation.op === 'add-ingress') shaping.hasIngress = true;
    else if (operation.op === 'delete-ingress') Object.assign(shaping, { hasIngress: false, redirects: [] });
    else if (operation.op === 'delete-filters') shaping.redirects = [];
    else if (!shaping.hasIngress) return missing;
    else shaping.redirects = [...shaping.redirects, operation.target];
    return null;
  }
}

function describe(operation: KernelOperation): string {
  switch (operation.op) {
    case 'replace-route':
    case 'delete-route':
      return `${operation.op} ${operation.route.dst} dev ${operation.route.interfaceName}`;
    case 'replace-neighbour':
    case 'delete-neighbour':
      return `${operation.op} ${operation.neighbour.address} dev ${operation.neighbour.interfaceName}`;
    case 'replace-fdb':
    case 'delete-fdb':
      return `${operation.op} ${operation.entry.mac} dst ${operation.entry.remote}`;
    case 'add-rule':
    case 'delete-rule':
      return `${operation.op} v${operation.rule.family} ${operation.rule.priority} table ${operation.rule.table}`;
    case 'add-address':
    case 'delete-address':
      return `${operation.op} ${operation.address.address}/${operation.address.length} dev ${operation.address.interfaceName}`;
    case 'add-link':
      return `${operation.op} ${operation.link.name}`;
    default:
      return 'name' in operation ? `${operation.op} ${operation.name}` : `${operation.op} ${operation.interfaceName}`;
  }
}
