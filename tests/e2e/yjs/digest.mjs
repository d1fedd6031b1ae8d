// Digests of documents. The digests of two documents are equal exactly if the documents are equal.
import { createHash } from 'node:crypto'
import * as Y from 'yjs'

const sha256 = text => createHash('sha256').update(text).digest('hex')

// Return JSON with sorted keys.
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

// `content` is the hash of the canvas attributes and elements. `vector` and `deleted` are the hashes of all insertions
// and all deletions ever made, so they show a lost edit even if a later edit has overwritten it.
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
    // True if the document has received updates that depend on missing updates.
    pending: doc.store.pendingStructs !== null || doc.store.pendingDs !== null
  }
}
