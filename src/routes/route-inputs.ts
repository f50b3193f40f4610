// The routes that managers want, by class and interface, and who competes for each key (6.1).
import type { Family } from '../model/family.js';
import { ROUTE_CLASSES, type RouteClass, type RouteTarget } from '../model/route.js';
import { canonicalCidr } from '../base/ip.js';
import { fibKey, normalPriority, type FibKey } from './fib.js';

/** One wish for a key. `rank` is the class's place in ROUTE_CLASSES: lower wins. */
export interface RouteCandidate {
  readonly rank: number;
  readonly routeClass: RouteClass;
  readonly interfaceName: string;
  readonly target: RouteTarget;
}

const NO_KEYS: ReadonlySet<FibKey> = new Set();
const RANKS = new Map(ROUTE_CLASSES.map((routeClass, rank) => [routeClass, rank]));

function slotOf(routeClass: RouteClass, interfaceName: string): string {
  return `${routeClass} ${interfaceName}`;
}

/** Wanted routes with both look-ups that conflicts need; every call costs what it changes. */
export class RouteInputs {
  readonly #family: Family;
  readonly #bySlot = new Map<string, Map<FibKey, RouteTarget>>();
  readonly #slotsByInterface = new Map<string, Set<string>>();
  readonly #byKey = new Map<FibKey, RouteCandidate[]>();
  /** Few in practice; they let a route be found by destination alone. */
  readonly #priorities = new Set<number>();

  constructor(family: Family) {
    this.#family = family;
  }

  keyOf(target: RouteTarget): FibKey {
    return fibKey(canonicalCidr(target.dst) ?? target.dst, 0, normalPriority(this.#family, target.priority));
  }

  candidates(key: FibKey): readonly RouteCandidate[] {
    return this.#byKey.get(key) ?? [];
  }

  /** Keys that are wanted on the interface, by any class. */
  keysOn(interfaceName: string): ReadonlySet<FibKey> {
    const slots = this.#slotsByInterface.get(interfaceName);
    if (slots === undefined) return NO_KEYS;
    const keys = new Set<FibKey>();
    for (const slot of slots) {
      for (const key of this.#bySlot.get(slot)?.keys() ?? []) keys.add(key);
    }
    return keys;
  }

  /** Targets of one class on one interface. */
  targetsOf(routeClass: RouteClass, interfaceName: string): ReadonlyMap<FibKey, RouteTarget> {
    return this.#bySlot.get(slotOf(routeClass, interfaceName)) ?? new Map<FibKey, RouteTarget>();
  }

  /** Adds or replaces; the last of two targets with one key stands. Returns the key. */
  put(routeClass: RouteClass, interfaceName: string, target: RouteTarget): FibKey {
    const slot = slotOf(routeClass, interfaceName);
    const key = this.keyOf(target);
    const targets = this.#bySlot.get(slot) ?? new Map<FibKey, RouteTarget>();
    targets.set(key, target);
    this.#bySlot.set(slot, targets);
    const slots = this.#slotsByInterface.get(interfaceName) ?? new Set();
    slots.add(slot);
    this.#slotsByInterface.set(interfaceName, slots);
    this.#priorities.add(normalPriority(this.#family, target.priority));
    const others = this.candidates(key).filter(
      (other) => other.routeClass !== routeClass || other.interfaceName !== interfaceName,
    );
    const rank = RANKS.get(routeClass) ?? ROUTE_CLASSES.length;
    this.#byKey.set(key, [...others, { rank, routeClass, interfaceName, target }]);
    return key;
  }

  /** Withdraws one key; returns whether it was there. */
  delete(routeClass: RouteClass, interfaceName: string, key: FibKey): boolean {
    const slot = slotOf(routeClass, interfaceName);
    const targets = this.#bySlot.get(slot);
    if (targets === undefined || !targets.delete(key)) return false;
    if (targets.size === 0) {
      this.#bySlot.delete(slot);
      const slots = this.#slotsByInterface.get(interfaceName);
      slots?.delete(slot);
      if (slots?.size === 0) this.#slotsByInterface.delete(interfaceName);
    }
    const left = this.candidates(key).filter(
      (other) => other.routeClass !== routeClass || other.interfaceName !== interfaceName,
    );
    if (left.length === 0) this.#byKey.delete(key);
    else this.#byKey.set(key, left);
    return true;
  }

  /** Keys of the class on the interface that lead to the destination, whatever their metric. */
  keysTo(routeClass: RouteClass, interfaceName: string, dst: string): FibKey[] {
    const targets = this.targetsOf(routeClass, interfaceName);
    const canonical = canonicalCidr(dst) ?? dst;
    return [...this.#priorities].map((priority) => fibKey(canonical, 0, priority)).filter((key) => targets.has(key));
  }
}
