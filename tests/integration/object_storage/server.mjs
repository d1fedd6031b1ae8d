// An object storage with the bucket `backups` in a folder. Usage: node server.mjs FOLDER. It prints its port.
import S3rver from 's3rver'

const server = new S3rver({
  address: '127.0.0.1',
  port: 0,
  silent: true,
  directory: process.argv[2],
  configureBuckets: [{ name: 'backups' }]
})
const { port } = await server.run()
console.log(port)
