-- What the scripts that drive a real Neovim share. GLM_SETUP is our runtime folder, GLM_FILE a file to edit.
-- A script prints a line per claim and "N passed, M failed"; it is a coroutine that timers resume, so that
-- insert mode is real and Neovim's loop turns meanwhile.
local M = { messages = {}, diffs = {} }

vim.opt.runtimepath:prepend(assert(vim.env.GLM_SETUP))
vim.cmd('filetype on')
vim.cmd.runtime('plugin/glm_lsp.lua')
vim.lsp.log.set_level('off')

local passed, failed, script = 0, 0, nil

function M.claim(name, holds, seen)
  passed, failed = passed + (holds and 1 or 0), failed + (holds and 0 or 1)
  io.stdout:write(('%s %s%s\n'):format(holds and 'ok  ' or 'FAIL', name, holds and '' or ' ' .. vim.inspect(seen)))
  io.stdout:flush()
  return holds
end

function M.note(text)
  io.stdout:write(text .. '\n')
end

local show = vim.lsp.handlers['window/showMessage']
vim.lsp.handlers['window/showMessage'] = function(err, result, ...)
  table.insert(M.messages, result.message)
  return show(err, result, ...)
end
vim.notify = function(text)
  table.insert(M.messages, text)
end

--- Whether something was told that holds `text`.
function M.told(text)
  return vim.iter(M.messages):any(function(message) return message:find(text, 1, true) ~= nil end)
end

function M.pause(ms)
  vim.defer_fn(function() assert(coroutine.resume(script)) end, ms)
  coroutine.yield()
end

--- Wait until `f` says something true, and return it.
function M.eventually(seconds, f)
  for _ = 1, seconds * 20 do
    local value = f()
    if value then return value end
    M.pause(50)
  end
end

function M.keys(s) vim.api.nvim_input(s) end

function M.text() return table.concat(vim.api.nvim_buf_get_lines(M.buffer or 0, 0, -1, false), '\n') end

function M.has(s) return M.text():find(s, 1, true) ~= nil end

--- The ghost text that is on the screen, all its lines.
function M.ghost()
  local namespace = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion']
  for _, mark in ipairs(namespace and vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true }) or {}) do
    local rows = { mark[4].virt_text or {} }
    vim.list_extend(rows, mark[4].virt_lines or {})
    local lines = vim.iter(rows):map(function(row)
      return vim.iter(row):map(function(piece) return piece[1] end):join('')
    end)
    local text = lines:join('\n')
    if text ~= '' then return text end
  end
end

--- What the menu offers of ours.
function M.item()
  if vim.fn.pumvisible() == 0 then return end
  for _, item in ipairs(vim.fn.complete_info({ 'items' }).items) do
    local lsp = vim.tbl_get(item, 'user_data', 'nvim', 'lsp', 'completion_item')
    if lsp and lsp.detail == 'GLM' then return lsp.textEdit.newText end
  end
end

--- The completion that is shown, whichever way.
function M.shown() return vim.lsp.inline_completion and M.ghost() or M.item() end

--- Wait for the completion `text` (in a menu it begins with the word before the cursor).
function M.shows(text, seconds)
  return M.eventually(seconds or 20, function()
    local shown = M.shown()
    return shown == text or (M.item() and vim.endswith(shown or '', text))
  end)
end

function M.client() return vim.lsp.get_clients({ bufnr = M.buffer, name = 'glm_lsp' })[1] end

function M.open(file)
  vim.cmd.edit(file)
  M.buffer = vim.api.nvim_get_current_buf()
  return M.eventually(60, function()
    local client = M.client()
    return client and client.initialized and client
  end)
end

--- Ask the server something, and wait.
function M.ask(method, params)
  local answer
  M.client():request(method, params or vim.empty_dict(), function(_, result) answer = result or {} end)
  return M.eventually(20, function() return answer end)
end

function M.settled()
  return M.eventually(60, function()
    local status = M.ask('glm-lsp/status')
    return status and not status.indexing
  end)
end

function M.action(words)
  vim.lsp.buf.code_action({
    apply = true,
    filter = function(a) return a.title:lower():find(words, 1, true) ~= nil end,
  })
end

--- The lines of our window below, if there is one.
function M.window()
  for _, window in ipairs(vim.api.nvim_list_wins()) do
    local bufnr = vim.api.nvim_win_get_buf(window)
    if vim.bo[bufnr].buftype == 'nofile' and vim.api.nvim_win_get_config(window).relative == '' then
      return table.concat(vim.api.nvim_buf_get_lines(bufnr, 0, -1, false), '\n'), window
    end
  end
end

--- Type at the end of the buffer, from normal mode.
function M.type(s)
  M.keys('<Esc>Go' .. s)
end

--- The buffer as it was, normal mode.
function M.reset(text)
  M.keys('<Esc>')
  M.eventually(5, function() return vim.api.nvim_get_mode().mode == 'n' end)
  vim.api.nvim_buf_set_lines(M.buffer, 0, -1, false, vim.split(text, '\n'))
  M.pause(250)
  M.messages = {}
end

function M.run(f)
  M.note(tostring(vim.version()))
  script = coroutine.create(function()
    f()
    io.stdout:write(('%d passed, %d failed\n'):format(passed, failed))
    vim.lsp.enable('glm_lsp', false)
    M.eventually(5, function() return #vim.lsp.get_clients() == 0 end)
    vim.cmd('silent! %bwipeout!')
    vim.cmd(failed == 0 and 'qall!' or 'cquit!')
  end)
  vim.api.nvim_create_autocmd('VimEnter', {
    callback = function()
      vim.defer_fn(function()
        local ok, problem = coroutine.resume(script)
        assert(ok, problem)
      end, 10)
    end,
  })
  vim.defer_fn(function()
    io.stdout:write(('%d passed, %d failed: out of time\n'):format(passed, failed + 1))
    vim.cmd('cquit!')
  end, 240000)
end

return M
