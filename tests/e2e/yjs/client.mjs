// A Yjs client: a Y.Doc and the WebsocketProvider of y-websocket.
import * as decoding from 'lib0/decoding'
import { WebsocketProvider } from 'y-websocket'
import { WebsocketProvider as WebsocketProvider2 } from 'y-websocket-2'
import * as Y from 'yjs'
import { digest } from './digest.mjs'
import { RandomEditor } from './edits.mjs'
import { keepToken } from './renewal.mjs'
import { countingSocket } from './socket.mjs'

// Type of the message in which the server reports how many document messages of this connection are committed.
const SAVED = 100
// Type of the message in which the server reports the largest number of bytes of one message.
const LIMITS = 102
// Number of newest closes that a client keeps, because a client that never gives up would collect too many closes.
const MAX_CLOSES = 100

export class Client {
  // `changed()` is called after each change of the status, and `report(event)` for each status and close event.
  constructor (name, settings, changed, report) {
    const { awareness, offline = false, clientId, doc = new Y.Doc() } = settings
    this.name = name
    this.doc = doc
    // A page may use the id of its earlier document again after a reload.
    if (clientId !== undefined) doc.clientID = clientId
    this.changed = changed
    this.connections = 0
    this.closes = []
    this.gaveUp = null
    // Number of updates received from the server.
    this.updates = 0
    // Number of changes of the document, both local and received.
    this.version = 0
    // Number of edits made by `startRandomEdits`.
    this.edits = 0
    // The longest time in milliseconds from the end of a connection until the next connection was synced.
    this.longestPause = 0
    this.lostAt = null
    // The message counts of the newest connection (`Traffic` in socket.mjs).
    this.traffic = null
    // The server's limit for one message in bytes; null before the server reports the limit.
    this.maxMessage = null
    this.provider = this.createProvider(settings)
    this.listen(report)
    if (awareness !== undefined) this.provider.awareness.setLocalState(awareness)
    if (!offline) this.provider.connect()
  }

  createProvider (settings) {
    const { url, room, params = {}, protocols = [], tokens = [], tab = false, version = 3, firstSendDelay = 0 } = settings
    const Provider = version === 2 ? WebsocketProvider2 : WebsocketProvider
    const provider = new Provider(url, room, this.doc, {
      connect: false,
      params,
      protocols,
      // In tabs of one browser, a BroadcastChannel carries edits and awareness without the server.
      disableBc: !tab,
      WebSocketPolyfill: countingSocket(traffic => { this.traffic = traffic }, this.changed, firstSendDelay)
    })
    // Each renewal of the token gets the next one of `tokens`.
    if (tokens.length > 0) keepToken(provider, async () => tokens.shift())
    return provider
  }

  addClose (close, report) {
    this.closes = [...this.closes, close].slice(-MAX_CLOSES)
    report({ event: 'close', client: this.name, ...close })
    this.changed()
  }

  listen (report) {
    this.listenToProvider(report)
    this.doc.on('update', (_update, origin) => {
      this.version++
      if (origin === this.origin) this.updates++
      this.changed()
    })
    this.provider.awareness.on('change', this.changed)
  }

  // The origin of changes that come from the server.
  get origin () {
    return this.provider
  }

  listenToProvider (report) {
    const { provider } = this
    provider.messageHandlers[SAVED] = (_encoder, decoder) => {
      this.traffic.saved = decoding.readVarUint(decoder)
    }
    provider.messageHandlers[LIMITS] = (_encoder, decoder) => {
      this.maxMessage = decoding.readVarUint(decoder)
    }
    provider.on('sync', synced => {
      if (synced && this.lostAt !== null) {
        this.longestPause = Math.max(this.longestPause, performance.now() - this.lostAt)
        this.lostAt = null
      }
      this.changed()
    })
    provider.on('status', ({ status }) => {
      if (status === 'connected') this.connections++
      report({ event: 'status', client: this.name, status })
      this.changed()
    })
    provider.on('connection-close', event => {
      this.lostAt ??= performance.now()
      // The event is null if this side closed the connection.
      const close = event === null ? { code: null, reason: '' } : { code: event.code, reason: event.reason }
      this.addClose(close, report)
    })
    provider.on('closed', close => {
      this.gaveUp = close
      this.changed()
    })
  }

  get synced () {
    return this.provider.wsconnected && this.provider.synced
  }

  // Whether all edits of this client are committed.
  get saved () {
    const { synced, traffic } = this
    return synced && traffic.sentSyncStep2 && traffic.saved === traffic.documents
  }

  // Return the digest of the document. It is computed once for each state of the document.
  digest () {
    if (this.digested?.version !== this.version) {
      this.digested = { version: this.version, value: digest(this.doc) }
    }
    return this.digested.value
  }

  awarenessStates () {
    return [...this.provider.awareness.getStates().values()]
  }

  startRandomEdits (settings) {
    this.stopRandomEdits()
    this.randomEditor = new RandomEditor(this.name, this.doc, settings, () => {
      this.edits++
      this.changed()
    })
  }

  stopRandomEdits () {
    this.randomEditor?.stop()
  }

  // Break the connection without a close frame. The provider reconnects by itself.
  dropConnection () {
    this.provider.ws?.terminate()
  }

  // Break the connection without a close frame, and do not reconnect.
  dropWithoutReconnect () {
    this.stopRandomEdits()
    this.provider.shouldConnect = false
    this.dropConnection()
  }

  destroy () {
    this.stopRandomEdits()
    this.provider.destroy()
    this.doc.destroy()
  }

  status () {
    const { name, connections, closes, gaveUp, updates, edits, longestPause, traffic, provider } = this
    return {
      name,
      connected: provider.wsconnected,
      synced: this.synced,
      connections,
      closes,
      gave_up: gaveUp,
      updates,
      edits,
      longest_pause: longestPause,
      received: traffic?.received ?? {},
      document_messages: traffic?.documents ?? 0,
      saved: traffic?.saved ?? null,
      max_message: this.maxMessage,
      present: this.awarenessStates().length
    }
  }
}
