/**
 * A set of objects that come and go all the time. Each member notes its place here in a property of its own; -1: it is not here.
 *
 * A `Set` makes itself a new table after so many changes, and an old table leads to the next one: once one of them is in V8's old space, all
 * that were ever members live on until that is collected, too, which cost a busy worker a third of its time.
 */
export class Bag<Place extends string, Member extends { [P in Place]: number }> {
  readonly #members: Member[] = [];
  readonly #place: Place;

  constructor(place: Place) {
    this.#place = place;
  }

  get size(): number {
    return this.#members.length;
  }

  has(member: Member): boolean {
    return member[this.#place] >= 0;
  }

  add(member: Member): void {
    if (!this.has(member)) this.#put(member, this.#members.push(member) - 1);
  }

  /** Returns whether it was here. */
  delete(member: Member): boolean {
    const place = member[this.#place];
    if (place < 0) return false;
    const last = this.#members.pop() as Member;
    if (last !== member) {
      this.#members[place] = last;
      this.#put(last, place);
    }
    this.#put(member, -1);
    return true;
  }

  clear(): void {
    for (const member of this.#members.splice(0)) this.#put(member, -1);
  }

  /** Those that are here now, in no order; they may be taken out meanwhile. */
  [Symbol.iterator](): Iterator<Member> {
    return this.#members.slice().values();
  }

  #put(member: Member, place: number): void {
    (member as { [P in Place]: number })[this.#place] = place as Member[Place];
  }
}
