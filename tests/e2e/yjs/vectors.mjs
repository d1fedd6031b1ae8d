// Print values and their encodings by lib0, y-protocols and @hocuspocus/common, as JSON.
import * as hocuspocus from '@hocuspocus/common'
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import { Awareness, applyAwarenessUpdate, encodeAwarenessUpdate, removeAwarenessStates } from 'y-protocols/awareness'
import * as sync from 'y-protocols/sync'
import * as Y from 'yjs'

const hex = bytes => Buffer.from(bytes).toString('hex')
const encoded = write => {
  const encoder = encoding.createEncoder()
  write(encoder)
  return hex(encoding.toUint8Array(encoder))
}

const NUMBERS = [0, 1, 63, 64, 127, 128, 129, 255, 256, 16383, 16384, 2 ** 21 - 1, 2 ** 21, 2 ** 28, 2 ** 31 - 1, 2 ** 31,
  2 ** 32 - 1, 2 ** 32, 2 ** 35 - 1, 2 ** 42, 2 ** 49 - 1, 2 ** 49, 2 ** 53 - 1]
const TEXTS = ['', 'a', 'äöü', '€', '\u0000', '𝒮vg', '👩‍👩‍👧', 'x'.repeat(127), 'x'.repeat(128), 'é'.repeat(100), 'line\nline\t"quoted"']
const BUFFERS = ['', '00', 'ff', '80', '00'.repeat(127), 'ab'.repeat(128), 'cd'.repeat(300)]

// Return five updates, each with a name and a state vector: four whole documents, and the difference of two documents.
// Together they have insertions of two clients, deletions, a map, a text with an emoji, and an array.
function documents () {
  const docs = []
  const doc = new Y.Doc()
  doc.clientID = 1
  docs.push(['empty', Y.encodeStateAsUpdate(doc), Y.encodeStateVector(doc)])
  const map = doc.getMap('elements')
  map.set('a', new Y.Map([['tag', 'rect'], ['x', 1.5], ['big', 2 ** 31], ['none', null], ['yes', true]]))
  docs.push(['map', Y.encodeStateAsUpdate(doc), Y.encodeStateVector(doc)])
  const other = new Y.Doc()
  other.clientID = 4294967295
  Y.applyUpdate(other, Y.encodeStateAsUpdate(doc))
  other.getText('text').insert(0, 'a👩b')
  other.getText('text').delete(0, 1)
  other.getArray('list').push([1, 'two', new Uint8Array([3])])
  docs.push(['two clients', Y.encodeStateAsUpdate(other), Y.encodeStateVector(other)])
  docs.push(['difference', Y.encodeStateAsUpdate(other, Y.encodeStateVector(doc)), Y.encodeStateVector(doc)])
  other.getMap('elements').delete('a')
  docs.push(['deleted', Y.encodeStateAsUpdate(other), Y.encodeStateVector(other)])
  return docs
}

const syncMessages = documents().map(([name, update, vector]) => {
  const doc = new Y.Doc()
  Y.applyUpdate(doc, update)
  return {
    name,
    update: hex(update),
    vector: hex(vector),
    step1: encoded(encoder => {
      encoding.writeVarUint(encoder, 0)
      encoding.writeVarUint(encoder, sync.messageYjsSyncStep1)
      encoding.writeVarUint8Array(encoder, vector)
    }),
    // The update in sync step 2. Without a state vector, y-protocols encodes the whole document.
    whole: hex(Y.encodeStateAsUpdate(doc)),
    step2: encoded(encoder => {
      encoding.writeVarUint(encoder, 0)
      sync.writeSyncStep2(encoder, doc)
    }),
    updateMessage: encoded(encoder => {
      encoding.writeVarUint(encoder, 0)
      sync.writeUpdate(encoder, update)
    })
  }
})

function awarenessOf (client, states) {
  const doc = new Y.Doc()
  doc.clientID = client
  const awareness = new Awareness(doc)
  for (const state of states) awareness.setLocalState(state)
  const update = encodeAwarenessUpdate(awareness, [client])
  const { clock } = awareness.meta.get(client)
  const json = JSON.stringify(awareness.getLocalState())
  awareness.destroy()
  return { client, clock, json, update: hex(update) }
}

const awareness = [
  awarenessOf(1, [{}]),
  awarenessOf(4294967295, [{ name: 'Åsa 👩', cursor: { x: 1.25, y: -3 } }]),
  awarenessOf(300, [{ n: 1 }, { n: 2 }, { n: 3 }]),
  awarenessOf(7, [{ n: 1 }, null])
]

// Return the state that wins when both states are applied to a new client, in this order.
function winner (first, second) {
  const target = new Awareness(new Y.Doc())
  const write = ({ clock, state }) => {
    const encoder = encoding.createEncoder()
    encoding.writeVarUint(encoder, 1)
    encoding.writeVarUint(encoder, 5)
    encoding.writeVarUint(encoder, clock)
    encoding.writeVarString(encoder, JSON.stringify(state))
    return encoding.toUint8Array(encoder)
  }
  applyAwarenessUpdate(target, write(first), 'test')
  applyAwarenessUpdate(target, write(second), 'test')
  const state = target.getStates().get(5) ?? null
  target.destroy()
  return JSON.stringify(state)
}

const STATES = [1, 2].flatMap(clock => [{ clock, state: { n: 1 } }, { clock, state: null }])
const winners = STATES.flatMap((first, i) => STATES.map((second, j) => {
  // A second state that is not null has another value than the first, so that the result shows which of them is kept.
  const other = second.state === null ? second : { ...second, state: { n: 2 } }
  return { first: { ...first, state: JSON.stringify(first.state) }, second: { ...other, state: JSON.stringify(other.state) }, wins: winner(first, other) }
}))

const removed = (() => {
  const doc = new Y.Doc()
  doc.clientID = 9
  const own = new Awareness(doc)
  own.setLocalState({ n: 1 })
  removeAwarenessStates(own, [9], 'test')
  const update = hex(encodeAwarenessUpdate(own, [9]))
  const { clock } = own.meta.get(9)
  own.destroy()
  return { client: 9, clock, json: 'null', update }
})()

const NAME = 'canvas-ä'
const named = (type, write = () => {}) => encoded(encoder => {
  encoding.writeVarString(encoder, NAME)
  encoding.writeVarUint(encoder, type)
  write(encoder)
})

const hocuspocusMessages = {
  name: NAME,
  token: named(2, encoder => {
    hocuspocus.writeAuthentication(encoder, 'secret')
    encoding.writeVarString(encoder, '4.8.0')
  }),
  token_request: named(2, encoder => hocuspocus.writeTokenSyncRequest(encoder)),
  permission_denied: named(2, encoder => hocuspocus.writePermissionDenied(encoder, '4404 there is none')),
  read_write: named(2, encoder => hocuspocus.writeAuthenticated(encoder, 'read-write')),
  readonly: named(2, encoder => hocuspocus.writeAuthenticated(encoder, 'readonly')),
  stateless: named(5, encoder => encoding.writeVarString(encoder, '{"quota":{}}')),
  close: named(7),
  closed: named(7, encoder => encoding.writeVarString(encoder, 'gone')),
  applied: named(8, encoder => encoding.writeVarInt(encoder, 1)),
  refused: named(8, encoder => encoding.writeVarInt(encoder, 0)),
  query: named(3),
  ping: encoded(encoder => encoding.writeVarUint(encoder, 9)),
  pong: encoded(encoder => encoding.writeVarUint(encoder, 10))
}

const result = {
  uints: NUMBERS.map(value => [value, encoded(encoder => encoding.writeVarUint(encoder, value))]),
  ints: NUMBERS.flatMap(value => [value, -value])
    .map(value => [value, encoded(encoder => encoding.writeVarInt(encoder, value))]),
  texts: TEXTS.map(value => [value, encoded(encoder => encoding.writeVarString(encoder, value))]),
  buffers: BUFFERS.map(value => [value, encoded(encoder => encoding.writeVarUint8Array(encoder, Buffer.from(value, 'hex')))]),
  sync: syncMessages,
  awareness: [...awareness, removed],
  winners,
  hocuspocus: hocuspocusMessages,
  query: encoded(encoder => encoding.writeVarUint(encoder, 3)),
  // True when lib0 decodes each number from the bytes that it has encoded.
  decoded_again: NUMBERS.every(value => decoding.readVarUint(decoding.createDecoder(
    Buffer.from(encoded(encoder => encoding.writeVarUint(encoder, value)), 'hex'))) === value)
}
process.stdout.write(JSON.stringify(result), () => process.exit(0))
