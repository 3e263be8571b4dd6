import { approvalApprove } from './approval/approve.ts';
import { approvalInfo } from './approval/info.ts';
import { approvalList } from './approval/list.ts';
import { approvalVeto } from './approval/veto.ts';
import { auditExport } from './audit/export.ts';
import { auditList } from './audit/list.ts';
import { auditVerify } from './audit/verify.ts';
import { backupCopy } from './backup/copy.ts';
import { backupCreate } from './backup/create.ts';
import { backupDrill } from './backup/drill.ts';
import { backupInfo } from './backup/info.ts';
import { backupKeys } from './backup/keys.ts';
import { backupKeysAccept } from './backup/keys-accept.ts';
import { backupKeysConfirm } from './backup/keys-confirm.ts';
import { backupKeysReseal } from './backup/keys-reseal.ts';
import { backupList } from './backup/list.ts';
import { backupPin } from './backup/pin.ts';
import { backupPrune } from './backup/prune.ts';
import { backupSchedule, backupScheduleShow } from './backup/schedule.ts';
import { backupScan } from './backup/scan.ts';
import { backupUnlock } from './backup/unlock.ts';
import { backupVerify } from './backup/verify.ts';
import type { Command } from './define.ts';
import { help } from './help.ts';
import { meAge, meAgeShow } from './me/age.ts';
import { jobCancel } from './job/cancel.ts';
import { jobInfo } from './job/info.ts';
import { jobList } from './job/list.ts';
import { meRoles } from './me/roles.ts';
import { Registry } from './registry.ts';
import { serverConfig } from './server/config.ts';
import { serverLogs } from './server/logs.ts';
import { scheduleAdd } from './schedule/add.ts';
import { scheduleList } from './schedule/list.ts';
import { schedulePause, scheduleResume } from './schedule/pause.ts';
import { scheduleRemove } from './schedule/remove.ts';
import { scheduleRun } from './schedule/run.ts';
import { serverCrypto, serverCryptoConfirm } from './server/crypto.ts';
import { serverDoctor } from './server/doctor.ts';
import { serverFreeze, serverThaw } from './server/freeze.ts';
import { serverReload } from './server/reload.ts';
import { serverRoomAck } from './server/room/ack.ts';
import { serverRoomCheck } from './server/room/check.ts';
import { serverRoomMend } from './server/room/mend.ts';
import { serverRoomMove } from './server/room/move.ts';
import { serverRestart } from './server/restart.ts';
import { serverStatus } from './server/status.ts';
import { serverVersion } from './server/version.ts';
import { restoreCutover } from './restore/cutover.ts';
import { restoreFinish } from './restore/finish.ts';
import { restoreList } from './restore/list.ts';
import { restorePrepare } from './restore/prepare.ts';
import { restoreUndo } from './restore/undo.ts';
import { undo } from './undo.ts';
import { userCreate } from './user/create.ts';
import { userDeactivate, userReactivate } from './user/deactivate.ts';
import { userInfo } from './user/info.ts';
import { userList } from './user/list.ts';
import { userRedact } from './user/redact.ts';
import { userUpdatePassword } from './user/update-password.ts';
import { what } from './what.ts';

/** Every command there is, in the order of help. */
const commands: readonly Command[] = [
  help,
  what,
  undo,
  userList,
  userInfo,
  userCreate,
  userUpdatePassword,
  userDeactivate,
  userReactivate,
  userRedact,
  jobList,
  jobInfo,
  jobCancel,
  auditList,
  auditExport,
  auditVerify,
  serverStatus,
  serverDoctor,
  serverVersion,
  serverCrypto,
  serverCryptoConfirm,
  serverReload,
  serverFreeze,
  serverThaw,
  serverConfig,
  serverLogs,
  serverRestart,
  serverRoomCheck,
  serverRoomMend,
  serverRoomMove,
  serverRoomAck,
  scheduleList,
  scheduleAdd,
  scheduleRemove,
  schedulePause,
  scheduleResume,
  scheduleRun,
  approvalList,
  approvalInfo,
  approvalApprove,
  approvalVeto,
  meRoles,
  meAge,
  meAgeShow,
  backupCreate,
  backupList,
  backupInfo,
  backupVerify,
  backupDrill,
  backupPin,
  backupCopy,
  backupScan,
  backupPrune,
  backupSchedule,
  backupScheduleShow,
  backupKeys,
  backupKeysConfirm,
  backupKeysAccept,
  backupKeysReseal,
  backupUnlock,
  restorePrepare,
  restoreCutover,
  restoreUndo,
  restoreFinish,
  restoreList,
];

export const allCommands = (): Registry => new Registry(commands);
