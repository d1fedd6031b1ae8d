// Edits of an SVGX document. Its root map `canvas` has attributes, its root map `elements` has elements by id.
import * as Y from 'yjs'

const TAGS = ['rect', 'circle', 'path', 'ellipse', 'line', 'g']
const COLOURS = ['#1b998b', '#2d3047', '#fffd82', '#ff9b71', '#e84855']
// Beyond this number of elements, random edits delete more elements than they add.
const MANY_ELEMENTS = 400

const OPERATIONS = {
  add (elements, { id, tag, parent = null, order = 'a0', attrs = {}, text }) {
    const element = new Y.Map()
    element.set('tag', tag)
    element.set('parent', parent)
    element.set('order', order)
    element.set('attrs', new Y.Map(Object.entries(attrs)))
    if (text !== undefined) element.set('text', text)
    elements.set(id, element)
  },
  plain (elements, { id, ...content }) {
    elements.set(id, content)
  },
  set (elements, { id, attrs }) {
    const map = elements.get(id).get('attrs')
    for (const [name, value] of Object.entries(attrs)) {
      if (value === null) map.delete(name)
      else map.set(name, value)
    }
  },
  move (elements, { id, parent, order }) {
    const element = elements.get(id)
    if (parent !== undefined) element.set('parent', parent)
    element.set('order', order)
  },
  text (elements, { id, text }) {
    elements.get(id).set('text', text)
  },
  delete (elements, { id }) {
    elements.delete(id)
  }
}

// Make all edits in one transaction, so that they are one update.
export function apply (doc, edits) {
  const elements = doc.getMap('elements')
  const canvas = doc.getMap('canvas')
  doc.transact(() => {
    for (const edit of edits) {
      if (edit.op === 'canvas') {
        for (const [name, value] of Object.entries(edit.attrs)) canvas.set(name, value)
      } else if (edit.op in OPERATIONS) {
        OPERATIONS[edit.op](elements, edit)
      } else {
        throw new Error(`unknown edit ${edit.op}`)
      }
    }
  })
}

// Make edits without a transaction, so that each is one update and one message.
export function burst (doc, count, size) {
  const canvas = doc.getMap('canvas')
  for (let number = 1; number <= count; number++) canvas.set('burst', String(number).padEnd(size, 'x'))
}

// Call `step(number)` `rate` times a second, and resolve after `seconds`. Late calls run together, as in a browser.
export function atRate (rate, seconds, step) {
  return new Promise(resolve => {
    const start = performance.now()
    const total = rate * seconds
    let made = 0
    const timer = setInterval(() => {
      const due = Math.min(total, (performance.now() - start) / 1000 * rate)
      while (made < due) step(made++)
      if (made < total) return
      clearInterval(timer)
      resolve()
    }, 4)
  })
}

// Return a generator of random numbers (Mulberry32). A seed always gives the same numbers.
export function randomNumbers (seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

// A source of random edits, `rate` per second. They add, change, move and delete elements, including other clients'.
export class RandomEditor {
  constructor (name, doc, { seed, rate }, onEdit) {
    this.name = name
    this.doc = doc
    this.random = randomNumbers(seed)
    this.interval = 1000 / rate
    this.onEdit = onEdit
    this.made = 0
    this.schedule()
  }

  stop () {
    clearTimeout(this.timer)
  }

  schedule () {
    this.timer = setTimeout(() => {
      apply(this.doc, [this.randomEdit()])
      this.made++
      this.onEdit()
      this.schedule()
    }, this.interval * (0.5 + this.random()))
  }

  randomEdit () {
    const elements = this.doc.getMap('elements')
    const choice = this.random()
    const id = this.pick([...elements.keys()])
    if (id === undefined || choice < (elements.size < MANY_ELEMENTS ? 0.4 : 0.05)) return this.randomAddition()
    if (choice < 0.7) return { op: 'set', id, attrs: { fill: this.pick(COLOURS), x: this.randomCoordinate() } }
    if (choice < 0.85) return { op: 'move', id, order: this.randomOrder() }
    if (choice < 0.88) return { op: 'canvas', attrs: { title: `${this.name} ${this.made}` } }
    return { op: 'delete', id }
  }

  randomAddition () {
    return {
      op: 'add',
      // The client id makes the element's id unique among earlier editors with the same name.
      id: `${this.name}-${this.doc.clientID.toString(36)}-${this.made}`,
      tag: this.pick(TAGS),
      order: this.randomOrder(),
      attrs: { x: this.randomCoordinate(), y: this.randomCoordinate(), fill: this.pick(COLOURS) }
    }
  }

  pick (list) {
    return list[Math.floor(this.random() * list.length)]
  }

  randomCoordinate () {
    return String(Math.floor(this.random() * 1000))
  }

  randomOrder () {
    return `a${Math.floor(this.random() * 36 ** 5).toString(36).padStart(5, '0')}`
  }
}
