'use strict';
// matrix-bot-sdk only needs these names to load; calling one is a bug, so each fails loudly.
const names = [
  'Attachment',
  'DeviceId',
  'DeviceLists',
  'EncryptionSettings',
  'EncryptedAttachment',
  'KeysClaimRequest',
  'OlmMachine',
  'RoomId',
  'UserId',
];
for (const name of names) {
  exports[name] = class {
    constructor() {
      throw new Error(`${name}: the SDK's own crypto is replaced by a stand-in and must not be called`);
    }
  };
}
exports.EncryptionAlgorithm = Object.freeze({ OlmV1Curve25519AesSha2: 0, MegolmV1AesSha2: 1 });
exports.HistoryVisibility = Object.freeze({ Invited: 0, Joined: 1, Shared: 2, WorldReadable: 3 });
exports.RequestType = Object.freeze({
  KeysUpload: 0,
  KeysQuery: 1,
  KeysClaim: 2,
  ToDevice: 3,
  SignatureUpload: 4,
  RoomMessage: 5,
  KeysBackup: 6,
});
exports.StoreType = Object.freeze({ Sled: 0, Sqlite: 1 });
