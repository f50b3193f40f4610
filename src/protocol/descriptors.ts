// The schema as data, for gRPC server reflection. Imported lazily: nothing else needs it.
import { toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { file_felix_dataplane_v1_service } from './gen/felix/dataplane/v1/service_pb.js';
import { file_felix_felixbackend } from './gen/felix/felixbackend_pb.js';

/** Encoded FileDescriptorProtos of our files, imports first. */
export function descriptorFiles(): Uint8Array[] {
  return [file_felix_felixbackend, file_felix_dataplane_v1_service].map((file) =>
    toBinary(FileDescriptorProtoSchema, file.proto),
  );
}
