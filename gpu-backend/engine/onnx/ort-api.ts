// ONNX Runtime's C API as functions, through koffi: alone in knowing the order of struct OrtApi.
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import koffi, { type KoffiFunc, type LibraryHandle } from 'koffi'

export type Pointer = unknown

// Positions in struct OrtApi (onnxruntime_c_api.h), which only ever grows at its end.
const API = {
  GetErrorMessage: [2, 'const char *OrtGetErrorMessage(void *status)'],
  CreateEnv: [3, 'void *OrtCreateEnv(int level, const char *id, _Out_ void **out)'],
  CreateSession: [7, 'void *OrtCreateSession(void *env, const char *path, void *options, _Out_ void **out)'],
  CreateSessionFromArray: [
    8,
    'void *OrtCreateSessionFromArray(void *env, void *data, size_t bytes, void *options, _Out_ void **out)',
  ],
  CreateSessionOptions: [10, 'void *OrtCreateSessionOptions(_Out_ void **out)'],
  SetGraphOptimizationLevel: [23, 'void *OrtSetGraphOptimizationLevel(void *options, int level)'],
  SetIntraOpNumThreads: [24, 'void *OrtSetIntraOpNumThreads(void *options, int threads)'],
  CreateTensor: [48, 'void *OrtCreateTensor(void *alloc, const int64_t *dims, size_t n, int type, _Out_ void **out)'],
  CreateTensorWithData: [
    49,
    'void *OrtCreateTensorWithData(void *info, void *data, size_t bytes, const int64_t *dims, size_t n, int type, _Out_ void **out)',
  ],
  CreateTensorAt: [
    49,
    'void *OrtCreateTensorAt(void *info, uintptr_t data, size_t bytes, const int64_t *dims, size_t n, int type, _Out_ void **out)',
  ],
  CreateMemoryInfo: [68, 'void *OrtCreateMemoryInfo(const char *name, int alloc, int id, int mem, _Out_ void **out)'],
  CreateCpuMemoryInfo: [69, 'void *OrtCreateCpuMemoryInfo(int alloc, int mem, _Out_ void **out)'],
  ReleaseEnv: [92, 'void OrtReleaseEnv(void *p)'],
  ReleaseStatus: [93, 'void OrtReleaseStatus(void *p)'],
  ReleaseMemoryInfo: [94, 'void OrtReleaseMemoryInfo(void *p)'],
  ReleaseSession: [95, 'void OrtReleaseSession(void *p)'],
  ReleaseValue: [96, 'void OrtReleaseValue(void *p)'],
  ReleaseSessionOptions: [100, 'void OrtReleaseSessionOptions(void *p)'],
  AddSessionConfigEntry: [130, 'void *OrtAddSessionConfigEntry(void *options, const char *key, const char *value)'],
  CreateAllocator: [131, 'void *OrtCreateAllocator(void *session, void *info, _Out_ void **out)'],
  ReleaseAllocator: [132, 'void OrtReleaseAllocator(void *p)'],
  RunWithBinding: [133, 'void *OrtRunWithBinding(void *session, void *options, void *binding)'],
  CreateIoBinding: [134, 'void *OrtCreateIoBinding(void *session, _Out_ void **out)'],
  ReleaseIoBinding: [135, 'void OrtReleaseIoBinding(void *p)'],
  BindInput: [136, 'void *OrtBindInput(void *binding, const char *name, void *value)'],
  BindOutput: [137, 'void *OrtBindOutput(void *binding, const char *name, void *value)'],
  AddInitializer: [150, 'void *OrtAddInitializer(void *options, const char *name, void *value)'],
  CreatePackedWeights: [166, 'void *OrtCreatePackedWeights(_Out_ void **out)'],
  ReleasePackedWeights: [167, 'void OrtReleasePackedWeights(void *p)'],
  CreateSessionWithPackedWeights: [
    168,
    'void *OrtCreateSessionWithPackedWeights(void *env, const char *path, void *options, void *packed, _Out_ void **out)',
  ],
  AppendExecutionProvider: [
    216,
    'void *OrtAppendProvider(void *options, const char *name, const char **keys, const char **values, size_t n)',
  ],
  AppendCudaV2: [204, 'void *OrtAppendCudaV2(void *options, void *cuda)'],
  CreateCudaOptions: [205, 'void *OrtCreateCudaOptions(_Out_ void **out)'],
  UpdateCudaOptions: [
    206,
    'void *OrtUpdateCudaOptions(void *options, const char **keys, const char **values, size_t n)',
  ],
  ReleaseCudaOptions: [208, 'void OrtReleaseCudaOptions(void *p)'],
} as const satisfies Record<string, readonly [number, string]>

const API_VERSION = 23

/** By platform. */
const FILES: ReadonlyMap<string, string> = new Map([
  ['linux', 'libonnxruntime.so.1'],
  ['darwin', 'libonnxruntime.1.dylib'],
  ['win32', 'onnxruntime.dll'],
])

/** A failure that ONNX Runtime reported, with its own words. */
export class OrtError extends Error {
  override name = 'OrtError'
}

// koffi's prototypes are global by name, so the table is made once in a thread.
let loaded: { readonly library: LibraryHandle; readonly api: ApiFunctions } | undefined

export type ApiFunctions = { [name in keyof typeof API]: KoffiFunc<(...args: unknown[]) => unknown> }

/** The functions of the library that onnxruntime-node ships. @throws OrtError where it cannot be loaded */
export function loadApi(): ApiFunctions {
  loaded ??= loadLibrary(libraryPath(process.platform, process.arch))
  return loaded.api
}

/** The handle must be kept: koffi unloads a library that nobody holds, whatever functions were taken from it. */
function loadLibrary(path: string): NonNullable<typeof loaded> {
  try {
    const library = koffi.load(path)
    const base = library.func('void *OrtGetApiBase()')()
    const [getApiPointer] = koffi.decode(base, koffi.array('void *', 1)) as [Pointer]
    const getApi = koffi.decode(getApiPointer, koffi.proto('void *OrtGetApi(uint32_t version)')) as (
      v: number,
    ) => Pointer
    const positions = Object.values(API).map(([position]) => position)
    const table = koffi.decode(getApi(API_VERSION), koffi.array('void *', Math.max(...positions) + 1)) as Pointer[]
    const functions = Object.entries(API).map(([name, [position, signature]]) => [
      name,
      koffi.decode(table[position], koffi.proto(signature)),
    ])
    return { library, api: Object.fromEntries(functions) as ApiFunctions }
  } catch (error) {
    throw new OrtError(`ONNX Runtime's library cannot be loaded from ${path}: ${(error as Error).message}`)
  }
}

/**
 * Where onnxruntime-node keeps the library for a platform and processor, as Node names them.
 * @throws OrtError where it has none: for Macs with Intel processors, say
 */
export function libraryPath(platform: string, arch: string): string {
  const packageDir = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'))
  const path = join(packageDir, 'bin', 'napi-v6', platform, arch, FILES.get(platform) ?? '')
  if (FILES.has(platform) && existsSync(path)) return path
  throw new OrtError(
    `onnxruntime-node has no library for ${platform} on ${arch}: use Linux on x64 or arm64, or a Mac with Apple Silicon.`,
  )
}
