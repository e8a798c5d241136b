import protobuf from 'protobufjs'
import { describe, expect, test } from 'vitest'
import { encodeModel } from '../../../gpu-backend/model/onnx-file.ts'

/** The part of onnx.proto that is written, with the field numbers of the standard. */
const ONNX = protobuf
  .parse(`syntax = "proto3";
message AttributeProto { string name = 1; float f = 2; int64 i = 3; repeated int64 ints = 8; int32 type = 20; }
message NodeProto { repeated string input = 1; repeated string output = 2; string name = 3; string op_type = 4; repeated AttributeProto attribute = 5; string domain = 7; }
message StringStringEntryProto { string key = 1; string value = 2; }
message TensorProto { repeated int64 dims = 1; int32 data_type = 2; string name = 8; repeated StringStringEntryProto external_data = 13; int32 data_location = 14; }
message Dimension { int64 dim_value = 1; string dim_param = 2; }
message TensorShapeProto { repeated Dimension dim = 1; }
message TensorType { int32 elem_type = 1; TensorShapeProto shape = 2; }
message TypeProto { TensorType tensor_type = 1; }
message ValueInfoProto { string name = 1; TypeProto type = 2; }
message GraphProto { repeated NodeProto node = 1; string name = 2; repeated TensorProto initializer = 5; repeated ValueInfoProto input = 11; repeated ValueInfoProto output = 12; }
message OperatorSetIdProto { string domain = 1; int64 version = 2; }
message ModelProto { int64 ir_version = 1; string producer_name = 2; GraphProto graph = 7; repeated OperatorSetIdProto opset_import = 8; }
`)
  .root.lookupType('ModelProto')

describe('an ONNX file', () => {
  test("says to another reader of the standard's messages what the graph says", () => {
    const bytes = encodeModel(
      {
        nodes: [
          {
            op: 'Foo',
            domain: 'com.microsoft',
            inputs: ['x', '', 'w'],
            outputs: ['y'],
            attributes: { axis: -1, epsilon: { float: 0.5 }, axes: [1, 2 ** 40] },
          },
        ],
        inputs: [{ name: 'x', type: 'i32', dims: ['rows', 1] }],
        outputs: [{ name: 'y', type: 'f32' }],
        initializers: [{ name: 'w', type: 'u8', dims: [2, 3], offset: 4096 * 2 ** 22, bytes: 6 }],
      },
      'weights.bin',
    )
    const model = ONNX.toObject(ONNX.decode(bytes), { longs: Number })
    expect(model.opset_import ?? model.opsetImport).toContainEqual({ domain: 'com.microsoft', version: 1 })
    expect(model.graph.node).toEqual([
      {
        input: ['x', '', 'w'],
        output: ['y'],
        name: 'Foo:y',
        opType: 'Foo',
        domain: 'com.microsoft',
        attribute: [
          { name: 'axis', i: -1, type: 2 },
          { name: 'epsilon', f: 0.5, type: 1 },
          { name: 'axes', ints: [1, 2 ** 40], type: 7 },
        ],
      },
    ])
    expect(model.graph.input).toEqual([
      { name: 'x', type: { tensorType: { elemType: 6, shape: { dim: [{ dimParam: 'rows' }, { dimValue: 1 }] } } } },
    ])
    expect(model.graph.output).toEqual([{ name: 'y', type: { tensorType: { elemType: 1 } } }])
    expect(model.graph.initializer).toEqual([
      {
        name: 'w',
        dims: [2, 3],
        dataType: 2,
        dataLocation: 1,
        externalData: [
          { key: 'location', value: 'weights.bin' },
          { key: 'offset', value: String(4096 * 2 ** 22) },
          { key: 'length', value: '6' },
        ],
      },
    ])
  })
})
