// What a document holds, in a form that is equal exactly when two documents are.
import { createHash } from 'node:crypto'
import * as Y from 'yjs'

const sha256 = text => createHash('sha256').update(text).digest('hex')

// JSON with sorted keys.
export function canonical (value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (value !== null && typeof value === 'object') {
    const keys = Object.keys(value).sort()
    return `{${keys.map(key => `${JSON.stringify(key)}:${canonical(value[key])}`).join(',')}}`
  }
  return JSON.stringify(value) ?? 'null'
}

export function content (doc) {
  return { canvas: doc.getMap('canvas').toJSON(), elements: doc.getMap('elements').toJSON() }
}

// `content` is what people see. `vector` and `deleted` are Yjs's account of every insertion and deletion ever made: an
// edit that was lost shows there even when a later one covers it.
export function digest (doc) {
  const { sv, ds } = Y.snapshot(doc)
  const deleted = {}
  for (const [client, items] of ds.clients) {
    deleted[client] = items.map(({ clock, len }) => [clock, len])
  }
  const parts = {
    content: sha256(canonical(content(doc))),
    vector: sha256(canonical(Object.fromEntries(sv))),
    deleted: sha256(canonical(deleted))
  }
  return {
    ...parts,
    all: sha256(canonical(parts)),
    elements: doc.getMap('elements').size,
    // Updates that wait for others they build on: something is missing.
    pending: doc.store.pendingStructs !== null || doc.store.pendingDs !== null
  }
}
