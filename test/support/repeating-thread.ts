// A thread of a TaskThread that answers each request with itself.
import { runTasks } from '../../gpu-backend/task-thread.ts'

runTasks((request) => request)
