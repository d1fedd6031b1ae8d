// Many Yjs clients in one process. Each line of stdin is a JSON request {"id", "command", …}. Each request gets one
// line on stdout: {"id", "result"} or {"id", "error"}. Lines with "event" report connections that open and close. The
// process ends at the end of stdin.
import { createInterface } from 'node:readline'
import * as Y from 'yjs'
import { Client } from './client.mjs'
import { content, digest } from './digest.mjs'
import { apply, atRate, burst } from './edits.mjs'
import { HocuspocusClient } from './hocuspocus.mjs'
import { ConditionWatcher } from './watch.mjs'

// Each provider adds a listener for the end of the process. Node would warn of a leak beyond ten listeners.
process.setMaxListeners(0)

const clients = new Map()
const watcher = new ConditionWatcher()

const write = line => process.stdout.write(`${JSON.stringify(line)}\n`)

function client (name) {
  const existing = clients.get(name)
  if (existing === undefined) throw new Error(`no client ${name}`)
  return existing
}

const clientsOf = names => names.map(client)

// Wait until `holds(client)` is true for each client. If the wait fails, the error contains `describe(client)` for each
// client for which `holds(client)` is false.
const waitForAll = (names, timeout, holds, describe) => watcher.until(
  () => clientsOf(names).every(holds) ? true : undefined,
  timeout,
  () => clientsOf(names).filter(one => !holds(one)).map(one => `${one.name}: ${describe(one)}`).join('; ')
)

const summary = one => {
  const { connected, synced, closes, document_messages: documents, saved } = one.status()
  return JSON.stringify({ connected, synced, documents, saved, closes: closes.slice(-5) })
}

const sameMembers = (left, right) =>
  left.length === right.length && left.toSorted().every((item, index) => item === right.toSorted()[index])

const COMMANDS = {
  connect ({ client: name, ...settings }) {
    if (clients.has(name)) throw new Error(`client ${name} exists`)
    const Kind = settings.hocuspocus === undefined ? Client : HocuspocusClient
    const created = new Kind(name, settings, watcher.changed, write)
    clients.set(name, created)
    return { client_id: created.doc.clientID }
  },
  reconnect: ({ client: name }) => client(name).provider.connect(),
  disconnect: ({ client: name }) => client(name).provider.disconnect(),
  drop_connection: ({ client: name }) => client(name).dropConnection(),
  drop_without_reconnect: ({ client: name }) => client(name).dropWithoutReconnect(),
  destroy ({ clients: names }) {
    for (const one of clientsOf(names)) {
      one.destroy()
      clients.delete(one.name)
    }
  },

  edit: ({ client: name, edits }) => apply(client(name).doc, edits),
  burst: ({ client: name, count, size }) => burst(client(name).doc, count, size),
  // Drag elements. Each step sets the x and the y of an element in separate edits.
  drag: ({ client: name, ids, rate, seconds }) => atRate(rate, seconds, number => {
    for (const id of ids) {
      const attrs = client(name).doc.getMap('elements').get(id).get('attrs')
      attrs.set('x', String(number))
      attrs.set('y', String(number))
    }
  }),
  move_cursor: ({ client: name, rate, seconds }) => atRate(rate, seconds, number => {
    client(name).provider.awareness.setLocalStateField('cursor', number)
  }),
  start_random_edits ({ clients: names, seed, rate }) {
    clientsOf(names).forEach((one, index) => one.startRandomEdits({ seed: seed + index, rate }))
  },
  stop_random_edits: ({ clients: names }) => clientsOf(names).forEach(one => one.stopRandomEdits()),
  await_edits: ({ clients: names, count, timeout }) => watcher.until(
    () => {
      const made = clientsOf(names).reduce((sum, one) => sum + one.edits, 0)
      return made >= count ? made : undefined
    },
    timeout, () => `${count} edits`),

  status: ({ client: name }) => client(name).status(),
  content: ({ client: name }) => content(client(name).doc),
  count_tags ({ client: name }) {
    const counts = {}
    for (const element of client(name).doc.getMap('elements').values()) {
      const tag = element.get('tag')
      counts[tag] = (counts[tag] ?? 0) + 1
    }
    return counts
  },
  digest: ({ client: name }) => client(name).digest(),
  update: ({ client: name }) => Buffer.from(Y.encodeStateAsUpdate(client(name).doc)).toString('base64'),
  digest_of ({ update }) {
    const doc = new Y.Doc()
    Y.applyUpdate(doc, Buffer.from(update, 'base64'))
    return digest(doc)
  },

  await_connected: ({ clients: names, timeout }) =>
    waitForAll(names, timeout, one => one.provider.wsconnected, summary),
  await_synced: ({ clients: names, timeout }) => waitForAll(names, timeout, one => one.synced, summary),
  await_saved: ({ clients: names, timeout }) => waitForAll(names, timeout, one => one.saved, summary),
  await_scope: ({ client: name, scope, timeout }) => watcher.until(
    () => client(name).scope === scope ? true : undefined, timeout, () => `scope is ${client(name).scope}`),
  await_denied: ({ client: name, count, timeout }) => watcher.until(
    () => client(name).denials.length >= count ? client(name).denials.at(-1) : undefined,
    timeout, () => summary(client(name))),
  unsynced: ({ client: name }) => client(name).provider.unsynced,
  stateless: ({ client: name }) => client(name).stateless,
  send_stateless: ({ client: name, payload }) => client(name).provider.inner.sendStateless(payload),
  await_received: ({ client: name, type, count, timeout }) => {
    const received = () => client(name).traffic?.received[type] ?? 0
    return watcher.until(() => received() >= count ? received() : undefined, timeout,
      () => `${received()} of ${count} messages of type ${type}`)
  },
  await_close: ({ client: name, count, timeout }) => watcher.until(
    () => client(name).closes.length >= count ? client(name).closes.at(-1) : undefined,
    timeout, () => summary(client(name))),

  // Wait until all clients are synced and have the same digest. If `digest` is given, wait for this digest.
  await_converged: ({ clients: names, digest: wanted, timeout }) => watcher.until(
    () => {
      const ready = clientsOf(names)
      if (!ready.every(one => one.synced)) return undefined
      const target = wanted ?? ready[0].digest().all
      const same = ready.every(one => one.digest().all === target && !one.digest().pending)
      return same ? ready[0].digest() : undefined
    },
    timeout,
    () => clientsOf(names).map(one => `${one.name}: ${JSON.stringify(one.digest())} ${summary(one)}`).join('\n')),
  await_elements: ({ clients: names, ids, timeout }) => waitForAll(
    names, timeout,
    one => ids.every(id => one.doc.getMap('elements').has(id)),
    one => `lacks ${ids.filter(id => !one.doc.getMap('elements').has(id))}`),
  await_attribute: ({ clients: names, name, value, timeout }) => waitForAll(
    names, timeout,
    one => one.doc.getMap('canvas').get(name) === value,
    one => `${name} is ${one.doc.getMap('canvas').get(name)}; ${summary(one)}`),

  set_awareness: ({ client: name, state }) => client(name).provider.awareness.setLocalState(state),
  awareness_states: ({ client: name }) => client(name).awarenessStates(),
  // Wait until the awareness states of each client have exactly these values in `field`.
  await_present: ({ clients: names, field, values, timeout }) => waitForAll(
    names, timeout,
    one => sameMembers(one.awarenessStates().map(state => String(state[field])), values),
    one => `has ${one.awarenessStates().map(state => state[field])}`)
}

async function handle (line) {
  const { id, command, ...settings } = JSON.parse(line)
  try {
    if (!Object.hasOwn(COMMANDS, command)) throw new Error(`unknown command ${command}`)
    write({ id, result: (await COMMANDS[command](settings)) ?? null })
  } catch (error) {
    write({ id, error: error.message })
  }
}

const lines = createInterface({ input: process.stdin })
lines.on('line', handle)
lines.on('close', () => process.exit(0))
