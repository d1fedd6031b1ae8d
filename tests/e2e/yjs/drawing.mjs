// Edits in the shape of an SVGX document: root map `canvas` (attributes), root map `elements` (id → element).
import * as Y from 'yjs'

const TAGS = ['rect', 'circle', 'path', 'ellipse', 'line', 'g']
const COLOURS = ['#1b998b', '#2d3047', '#fffd82', '#ff9b71', '#e84855']
// Past this many elements random drawing deletes more than it adds.
const CROWDED = 400

const EDITS = {
  add (elements, { id, tag, parent = null, order = 'a0', attrs = {}, text }) {
    const element = new Y.Map()
    element.set('tag', tag)
    element.set('parent', parent)
    element.set('order', order)
    element.set('attrs', new Y.Map(Object.entries(attrs)))
    if (text !== undefined) element.set('text', text)
    elements.set(id, element)
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

// All edits in one transaction: one update on the wire.
export function apply (doc, edits) {
  const elements = doc.getMap('elements')
  const canvas = doc.getMap('canvas')
  doc.transact(() => {
    for (const edit of edits) {
      if (edit.op === 'canvas') {
        for (const [name, value] of Object.entries(edit.attrs)) canvas.set(name, value)
      } else if (edit.op in EDITS) {
        EDITS[edit.op](elements, edit)
      } else {
        throw new Error(`no edit ${edit.op}`)
      }
    }
  })
}

// Mulberry32: small, and the same everywhere for one seed.
export function randomness (seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

// A person who draws: adds, changes, moves and deletes shapes, their own and others'.
export class Painter {
  constructor (name, doc, { seed, rate }, onEdit) {
    this.name = name
    this.doc = doc
    this.random = randomness(seed)
    this.pause = 1000 / rate
    this.onEdit = onEdit
    this.made = 0
    this.plan()
  }

  stop () {
    clearTimeout(this.timer)
  }

  plan () {
    this.timer = setTimeout(() => {
      apply(this.doc, [this.next()])
      this.made++
      this.onEdit()
      this.plan()
    }, this.pause * (0.5 + this.random()))
  }

  next () {
    const elements = this.doc.getMap('elements')
    const dice = this.random()
    const id = this.pick([...elements.keys()])
    if (id === undefined || dice < (elements.size < CROWDED ? 0.4 : 0.05)) return this.shape()
    if (dice < 0.7) return { op: 'set', id, attrs: { fill: this.pick(COLOURS), x: this.place() } }
    if (dice < 0.85) return { op: 'move', id, order: this.order() }
    if (dice < 0.88) return { op: 'canvas', attrs: { title: `${this.name} ${this.made}` } }
    return { op: 'delete', id }
  }

  shape () {
    return {
      op: 'add',
      // `made` alone could meet an id of an earlier painter of that name.
      id: `${this.name}-${this.doc.clientID.toString(36)}-${this.made}`,
      tag: this.pick(TAGS),
      order: this.order(),
      attrs: { x: this.place(), y: this.place(), fill: this.pick(COLOURS) }
    }
  }

  pick (list) {
    return list[Math.floor(this.random() * list.length)]
  }

  place () {
    return String(Math.floor(this.random() * 1000))
  }

  order () {
    return `a${Math.floor(this.random() * 36 ** 5).toString(36).padStart(5, '0')}`
  }
}
